//! One saga for a key, however often it is asked for: what a client that doesn't know whether it was heard needs.

mod answer;
mod claim;
mod problem;
mod rebuild;

pub use self::{
    answer::IDEMPOTENCY_REPLAYED,
    claim::{Approach, Keyed, Unkeyed},
    rebuild::Rebuild,
};
pub(crate) use self::{
    answer::{Keep, StoredAnswer, Trailers, is_final, is_final_code},
    claim::Claim,
    problem::KeyProblem,
};

/// Whether a request has to come with an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// It has to; without one it is answered 400.
    Required,
    /// It may. Without one, a request that is sent twice is carried out twice.
    Optional,
}
