//! The fallback, in dialogue.

mod grpc;
mod http;
mod limit;
mod plain;
