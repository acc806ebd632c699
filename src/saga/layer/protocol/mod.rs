//! What a saga needs to know of a protocol: what a request brings along, whether its answer commits, and how one answers in
//! its place.

mod body;
mod front;
mod grpc;
mod http;
mod instead;
mod plain;
mod pump;
mod verdict;

use std::{any::Any, future::Future};

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::instead::{COME_BACK, Instead, Said};
pub use self::{
    body::SagaBody,
    verdict::{CommitHead, CommitResult, CommitStatus, Success},
};
use crate::{
    Deadline,
    name::Name,
    protocol::{Grpc, Http, Plain},
    saga::{
        OnDisconnect, Saga,
        layer::{idempotency::Keep, settings::ExclusiveBy},
    },
    step::SagaId,
};

/// What a request brings along for its saga, in each of the three protocols.
///
/// Sealed: what users replace is the verdict.
pub trait Admit<Req>: sealed::Sealed + Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn deadline(&self, request: &Req, now: Instant) -> Option<Deadline>;

    /// The trace that it belongs to, and the step of another saga whose call it is.
    #[doc(hidden)]
    fn lineage(&self, request: &Req) -> Lineage;

    /// What it wants for itself.
    #[doc(hidden)]
    fn exclusive(&self, request: Req, by: &Wants) -> (Req, Option<String>);

    /// Puts the saga where the handler looks for it.
    #[doc(hidden)]
    fn admit(&self, request: &mut Req, saga: &Saga, deadline: Option<Deadline>);
}

/// Whether an answer commits, and how one answers in its place, in each of the three protocols.
///
/// Sealed: what users replace is the verdict, `V`.
pub trait Conclude<Res, E, V>: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The response of the layer.
    type Response: Send + 'static;
    /// The error of the layer.
    type Error: Send + 'static;
    #[doc(hidden)]
    type Rest: Rest;

    /// Reads the answer as far as it takes to know whether it commits, and as it has to be `keep`t.
    #[doc(hidden)]
    fn judge(
        &self,
        verdict: &V,
        result: Result<Res, E>,
        keep: Option<&Keep>,
    ) -> impl Future<Output = Judged<Self::Response, Self::Error, Self::Rest>> + Send;

    #[doc(hidden)]
    fn instead(&self, instead: Instead, name: &Name) -> Result<Self::Response, Self::Error>;

    #[doc(hidden)]
    fn error(&self, error: E) -> Self::Error;
}

/// What an answer came to.
#[doc(hidden)]
#[derive(Debug)]
pub struct Judged<R, E, T> {
    pub(crate) answer: Result<R, E>,
    pub(crate) end: End<T>,
}

#[derive(Debug)]
pub(crate) enum End<T> {
    Known(Conclusion),
    /// That is seen only at its end, and the answer is under way.
    Rest(T),
}

/// Whether the saga commits.
#[derive(Debug)]
#[doc(hidden)]
pub struct Conclusion {
    pub(crate) commits: bool,
    /// Why, if not.
    pub(crate) reason: String,
    /// What is kept of the answer, for those who ask again.
    pub(crate) kept: Option<Bytes>,
}

/// The rest of an answer that tells only at its end whether it commits. Its last word is held back until it is durable.
#[doc(hidden)]
pub trait Rest: Send + 'static {
    /// Hands on all but the last word. `None`: the client has hung up, and that was to be told.
    fn run(&mut self, on_disconnect: OnDisconnect) -> impl Future<Output = Option<Conclusion>> + Send;

    /// Says the last word, or another one.
    fn finish(self, instead: Option<(Instead, &Name)>) -> impl Future<Output = ()> + Send;

    /// The panic of whoever gave the answer goes on in whoever reads it.
    fn panic(self, panic: Box<dyn Any + Send>) -> impl Future<Output = ()> + Send;
}

/// Of answers that tell at once.
#[doc(hidden)]
#[derive(Debug)]
pub enum NoRest {}

/// What a request wants for itself, by what says so.
#[doc(hidden)]
#[derive(Clone)]
pub struct Wants(pub(crate) ExclusiveBy);

#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Lineage {
    pub(crate) trace: Option<String>,
    pub(crate) parent: Option<(SagaId, String)>,
}

mod sealed {
    pub trait Sealed {}

    impl<C> Sealed for super::Plain<C> {}
    impl<C> Sealed for super::Http<C> {}
    impl<C> Sealed for super::Grpc<C> {}
}

// ===== impl Conclusion =====

impl Conclusion {
    pub(crate) fn commit(kept: Option<Bytes>) -> Self {
        Self { commits: true, reason: String::new(), kept }
    }

    pub(crate) fn fail(reason: impl Into<String>, kept: Option<Bytes>) -> Self {
        Self { commits: false, reason: reason.into(), kept }
    }
}

impl<R, E, T> Judged<R, E, T> {
    pub(crate) fn known(answer: Result<R, E>, conclusion: Conclusion) -> Self {
        Self { answer, end: End::Known(conclusion) }
    }
}

// ===== impl NoRest =====

impl Rest for NoRest {
    async fn run(&mut self, _on_disconnect: OnDisconnect) -> Option<Conclusion> {
        match *self {}
    }

    async fn finish(self, _instead: Option<(Instead, &Name)>) {
        match self {}
    }

    async fn panic(self, _panic: Box<dyn Any + Send>) {
        match self {}
    }
}

impl std::fmt::Debug for Wants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wants")
    }
}
