//! See `buttress::fuzzing::timeout`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::timeout(data));
