//! See `buttress::fuzzing::kept_answer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::kept_answer(data));
