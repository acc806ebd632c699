//! See `buttress::fuzzing::rate_limit`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::rate_limit(data));
