//! See `buttress::fuzzing::step_headers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::step_headers(data));
