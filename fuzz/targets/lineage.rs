//! See `buttress::fuzzing::lineage`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::lineage(data));
