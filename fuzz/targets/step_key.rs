//! See `buttress::fuzzing::step_key`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::step_key(data));
