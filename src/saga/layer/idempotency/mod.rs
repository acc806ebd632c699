//! One saga for a key, however often it is asked for: what a client needs that doesn't know whether it was heard.
//!
//! The client makes a key, any text that it uses for nothing else, and sends it as `Idempotency-Key` (in gRPC, as metadata
//! of that name). When no answer comes it asks again, with the same key:
//!
//! | what the server finds | the answer |
//! |---|---|
//! | nothing | the request is carried out |
//! | the same request, answered | the same answer, with `Idempotency-Replayed: true` |
//! | the same request, under way | waited for, until the caller's deadline or for [`max_wait`](super::SagaLayer::max_wait); then 409 with `Retry-After` |
//! | another request | 422 |
//! | the same request, undone | it is carried out anew; if the undo goes on, when it is over |
//! | the same request, done, its answer too large to be kept | 409 |
//! | no key, where one is [required](Idempotency::Required); one that can't be read | 400 |
//!
//! In gRPC these are `ABORTED` for 409, `INVALID_ARGUMENT` for 422 and 400, and `ALREADY_EXISTS` for an answer that wasn't
//! kept.
//!
//! # Whose key
//!
//! A key belongs to a [principal](super::SagaLayer::principal), by default to whoever has the same `Authorization` header,
//! and to one kind of saga: the layer's name. What else has that text for a key is another one. The journal keeps a hash of
//! the principal, and a fingerprint of the request (SHA-256 of method, path, query and body), nothing else of either.
//!
//! # Which answers are kept
//!
//! Those that commit, and those that are final: a 4xx but 408, 409, 425 and 429; in gRPC `INVALID_ARGUMENT`, `NOT_FOUND`,
//! `ALREADY_EXISTS`, `FAILED_PRECONDITION`, `OUT_OF_RANGE`, `PERMISSION_DENIED`, `UNAUTHENTICATED` and `UNIMPLEMENTED`. Any
//! other says "not now": its key is free again once everything is undone. So is that of a refusal for which no step ran, for
//! nothing happened; the next attempt is judged anew.
//!
//! An answer is kept for as long as its saga ([`retention`](crate::saga::CoordinatorConfig::retention), a day by default), with its
//! status, its body, its trailers, and the headers that say what the body is ([more](super::SagaLayer::keep_headers)); never a
//! cookie, unless that is asked for. It may take [64 KiB](super::SagaLayer::answer_limit); one that is larger, or isn't
//! complete a second after its head, is handed on and not kept, and its key then gives 409.
//!
//! # When the claim is made
//!
//! Within a process, before the handler runs. Between processes that share a journal, in the transaction of the saga's first
//! step: two that are asked at the same time may both run their handler up to there, and one goes on. What a handler does
//! before its first step, and outside of any, may happen twice.

mod answer;
mod claim;
mod problem;
mod rebuild;

#[cfg(fuzzing)]
pub(crate) use self::claim::key;
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
