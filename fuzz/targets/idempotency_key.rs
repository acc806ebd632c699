//! See `buttress::fuzzing::idempotency_key`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::idempotency_key(data));
