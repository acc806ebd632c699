//! The layer.

mod answer;
#[cfg(feature = "axum")]
mod axum;
mod current;
pub mod future;
pub mod idempotency;
pub mod protocol;
mod service;
mod settings;
#[cfg(feature = "tonic")]
mod tonic;
mod work;

#[cfg(feature = "axum")]
pub use self::axum::NoSaga;
pub use self::{
    idempotency::{IDEMPOTENCY_REPLAYED, Idempotency, Rebuild},
    protocol::{CommitHead, CommitResult, CommitStatus, Success},
    service::SagaService,
    settings::{OnConflict, OnDisconnect},
};

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, request::Parts};
use tower_layer::Layer;

use crate::{
    config::{check, check_duration, or_panic},
    name::Name,
    protocol::{Grpc, Http, Plain},
    saga::{
        Coordinator,
        layer::{
            idempotency::{Keyed, Unkeyed},
            settings::Settings,
        },
    },
};

/// Carries every request out as a saga: what its handler did is undone, unless the answer commits.
///
/// | | commits | the handler finds its [`Saga`](crate::saga::Saga) |
/// |---|---|---|
/// | [`new`](SagaLayer::new) | `Ok` | [`Saga::current`](crate::saga::Saga::current) |
/// | [`http`](SagaLayer::http) | a 2xx head | as an argument (axum), or in the request's extensions |
/// | [`grpc`](SagaLayer::grpc) | `grpc-status: 0`, in the trailers or a trailers-only head | in the request's extensions |
///
/// The handler runs as a task of its own, and what becomes of it doesn't hang on whether its client waits. An answer that
/// commits is given when the commit is durable; one that doesn't, when the undo is decided, and it waits a second for it to
/// be over. A handler that runs no step costs nothing but its task.
///
/// Nothing of it is in the layer but settings: whatever this layer and its clones are applied to shares the coordinator.
#[derive(Clone)]
pub struct SagaLayer<P = Plain, V = Success, K = Unkeyed> {
    coordinator: Coordinator,
    settings: Arc<Settings>,
    protocol: P,
    verdict: V,
    keys: K,
}

impl SagaLayer {
    /// For any service; a call commits if it is `Ok`.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(coordinator: &Coordinator, name: impl Into<Name>) -> Self {
        Self::over(coordinator, name.into(), Plain::default())
    }

    /// For HTTP; a request commits if the head of its answer is a 2xx. Of an answer that streams, what streams out after
    /// the head is not part of the saga.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn http(coordinator: &Coordinator, name: impl Into<Name>) -> SagaLayer<Http> {
        SagaLayer::over(coordinator, name.into(), Http::default())
    }

    /// For gRPC; a call commits if its status is `OK`, which is known at its end. An answer that is there at once, as a unary
    /// one is, is held until the commit is durable. Of one that streams, the messages are handed on as they come, and the
    /// trailers are held; the saga goes on until then.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn grpc(coordinator: &Coordinator, name: impl Into<Name>) -> SagaLayer<Grpc> {
        SagaLayer::over(coordinator, name.into(), Grpc::default())
    }
}

impl<P> SagaLayer<P> {
    #[track_caller]
    fn over(coordinator: &Coordinator, name: Name, protocol: P) -> Self {
        Self {
            coordinator: coordinator.clone(),
            settings: Arc::new(Settings::new(name.required())),
            protocol,
            verdict: Success,
            keys: Unkeyed,
        }
    }
}

impl<P, V, K> SagaLayer<P, V, K> {
    /// How long a handler may take, from the call on. When that has passed, or the deadline that the request came with, the
    /// handler is cut off at whatever `.await` it stands, the undo of what it did *begins*, and the answer is a 504,
    /// `DEADLINE_EXCEEDED` or [`Elapsed`](crate::Elapsed). More than zero and at most a year; none by default.
    ///
    /// What the handler calls inherits the deadline; what undoes it doesn't.
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn deadline(self, within: Duration) -> Self {
        or_panic(check_duration("saga.deadline", within));
        self.set(|settings| settings.deadline = Some(within))
    }

    /// What becomes of the saga of a client that hangs up. By default it goes on.
    #[must_use]
    pub fn on_disconnect(self, on_disconnect: OnDisconnect) -> Self {
        self.set(|settings| settings.on_disconnect = on_disconnect)
    }

    /// How long an answer that doesn't commit waits for the undo to be over, so that usually nothing is left of the request
    /// when its client hears that it failed. At most a minute; a second by default; zero doesn't wait. The undo goes on in any case.
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn undo_wait(self, longest: Duration) -> Self {
        or_panic(check("saga.undo_wait", longest, ..=Duration::from_secs(60), "at most a minute"));
        self.set(|settings| settings.undo_wait = longest)
    }

    /// How long a request waits for another with the same idempotency key, or that works on the same, if its deadline isn't
    /// earlier. At most a year; 10 s by default; zero doesn't wait.
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn max_wait(self, longest: Duration) -> Self {
        or_panic(check("saga.max_wait", longest, ..=crate::config::LONGEST, "at most a year"));
        self.set(|settings| settings.max_wait = longest)
    }

    /// Says which answers commit, by a closure or a value: [`CommitHead`](super::CommitHead) in HTTP,
    /// [`CommitStatus`](super::CommitStatus) in gRPC, [`CommitResult`](super::CommitResult) for plain services.
    pub fn commits_when<W>(self, verdict: W) -> SagaLayer<P, W, K> {
        let Self { coordinator, settings, protocol, keys, .. } = self;
        SagaLayer { coordinator, settings, protocol, verdict, keys }
    }

    /// The coordinator.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    fn by_requests(self, by: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.exclusive = Some(Arc::new(by)))
    }

    fn keyed(self, idempotency: Idempotency) -> SagaLayer<P, V, Keyed> {
        let Self { coordinator, settings, protocol, verdict, .. } = self;
        SagaLayer { coordinator, settings, protocol, verdict, keys: Keyed::new(idempotency) }
    }
}

/// What only requests with a head have.
macro_rules! with_heads {
    ($protocol:ident) => {
        impl<C, V, K> SagaLayer<$protocol<C>, V, K> {
            /// Lets only one saga at a time work on the same thing, of all that have this coordinator's journal: what that is
            /// says `by`, for each request; `None` is nothing in particular. It is over when the saga is at rest: also its
            /// undo, and the calls that it promised.
            ///
            /// Sagas don't see each other's half-done work that way. What becomes of a request that finds another at work,
            /// [`on_conflict`](Self::on_conflict) says.
            #[must_use]
            pub fn exclusive_by(self, by: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
                self.by_requests(by)
            }

            /// What becomes of a request that wants for itself what another saga works on. By default it waits.
            #[must_use]
            pub fn on_conflict(self, on_conflict: OnConflict) -> Self {
                self.set(|settings| settings.on_conflict = on_conflict)
            }

            /// Carries out one saga for an idempotency key, however often it is asked for. See
            /// [the module](crate::saga::idempotency).
            ///
            /// The body of a request with a key is read before it is handed on; its type has to be one that can be
            /// [made again](super::Rebuild).
            #[must_use]
            pub fn idempotency(self, idempotency: Idempotency) -> SagaLayer<$protocol<C>, V, Keyed> {
                self.keyed(idempotency)
            }
        }
    };
}

with_heads!(Http);
with_heads!(Grpc);

impl<P, V> SagaLayer<P, V, Keyed> {
    /// Whose key it is: another's with the same text is another key. By default whoever has the same `Authorization` header,
    /// of which only a hash is kept; so a client whose token was renewed is somebody else, and where tokens are short-lived
    /// this should say who is behind them. `None` is nobody in particular: all of those share their keys.
    #[must_use]
    pub fn principal(mut self, principal: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.keys.principal = Some(Arc::new(principal));
        self
    }

    /// How large the body of a request with a key may be; larger ones are answered 413 or `OUT_OF_RANGE`. 2 MiB by default.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.keys.body_limit = bytes;
        self
    }

    /// Which headers of an answer are kept to be given again, beside those that describe its body, `location`, `link` and
    /// what begins with `grpc-`.
    #[must_use]
    pub fn keep_headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        let keep = &mut self.keys.keep;
        keep.headers = keep.headers.iter().cloned().chain(headers).collect();
        self
    }

    /// How large an answer may be, with its headers, to be kept. 64 KiB by default, at most 1 MiB.
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn answer_limit(mut self, bytes: usize) -> Self {
        or_panic(check("saga.answer_limit", bytes, 1..=1 << 20, "between 1 byte and 1 MiB"));
        self.keys.keep.limit = bytes;
        self
    }
}

impl<S, P: Clone, V: Clone, K: Clone> Layer<S> for SagaLayer<P, V, K> {
    type Service = SagaService<S, P, V, K>;

    fn layer(&self, inner: S) -> Self::Service {
        SagaService::new(
            inner,
            self.coordinator.clone(),
            self.settings.clone(),
            self.protocol.clone(),
            self.verdict.clone(),
            self.keys.clone(),
        )
    }
}

impl<P, V, K> fmt::Debug for SagaLayer<P, V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SagaLayer").field(&self.settings).finish()
    }
}
