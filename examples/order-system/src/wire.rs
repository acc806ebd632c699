//! The contracts between the services; beyond these they share nothing but plumbing.

/// `proto/inventory.proto`, compiled.
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all)]
pub mod inventory {
    tonic::include_proto!("inventory.v1");
}
