//! See `buttress::fuzzing::grpc_status`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buttress::fuzzing::grpc_status(data));
