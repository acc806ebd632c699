//! See `buttress::fuzzing::attempt`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::attempt(data));
