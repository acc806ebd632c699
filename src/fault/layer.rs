//! The layer.

use std::{fmt, time::Duration};

use http::StatusCode;
use tower_layer::Layer;

use crate::{
    config::or_panic,
    fault::{
        config::{Fault, FaultConfig},
        event,
        handle::Faults,
        service::FaultService,
        when::Always,
    },
    name::Name,
    protocol::{Grpc, Http, Plain, grpc::Code},
};

/// Lets things go wrong on purpose. See the [module](crate::fault).
///
/// The plan is in the layer: whatever this layer and its clones are applied to shares it. Until it is told otherwise,
/// nothing goes wrong.
#[derive(Clone)]
pub struct FaultLayer<P = Plain, W = Always> {
    faults: Faults,
    protocol: P,
    when: W,
}

impl FaultLayer {
    /// For any service; a call that fails is an [`Injected`](super::Injected) error.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(Faults::new(name), Plain::default())
    }

    /// For HTTP; a call that fails is answered with a 500.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn http(name: impl Into<Name>) -> FaultLayer<Http> {
        FaultLayer::from_policy(Faults::new(name), Http::default())
    }

    /// For gRPC; a call that fails is answered `UNAVAILABLE`.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn grpc(name: impl Into<Name>) -> FaultLayer<Grpc> {
        FaultLayer::from_policy(Faults::new(name), Grpc::default())
    }
}

impl<P> FaultLayer<P> {
    /// A layer for a plan that exists already, perhaps one with [settings](Faults::with_config) from a file.
    pub fn from_policy(faults: Faults, protocol: P) -> Self {
        Self { faults, protocol, when: Always }
    }
}

impl<P, W> FaultLayer<P, W> {
    /// Where the shares' chance comes from. By default a seed is drawn; [`Faults::seed`] tells it, and so does every
    /// event.
    #[must_use]
    #[track_caller]
    pub fn seed(self, seed: u64) -> Self {
        self.set(|config| config.seed = Some(seed))
    }

    /// What goes wrong with the first call, the second, and so on: `[Some(Fault::Fail), None, Some(Fault::Hang)]`, or
    /// without the `Some`. After that nothing does. The shares are not looked at any more.
    ///
    /// # Panics
    ///
    /// If it has more than 1,000,000 entries, or a delay of more than a year.
    #[must_use]
    #[track_caller]
    pub fn script<I>(self, script: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Option<Fault>>,
    {
        let script = script.into_iter().map(Into::into).collect();
        self.set(|config| config.script = Some(script))
    }

    /// The share of calls that fail, and for which the service isn't called: [`Fault::Fail`]. 0 to 1, by default 0.
    ///
    /// # Panics
    ///
    /// If it is out of this range, or all shares together are more than 1.
    #[must_use]
    #[track_caller]
    pub fn fail(self, share: f64) -> Self {
        self.set(|config| config.fail = share)
    }

    /// The share of calls that the service does, and that fail all the same: [`Fault::FailAfter`]. 0 to 1, by default
    /// 0.
    ///
    /// # Panics
    ///
    /// If it is out of this range, or all shares together are more than 1.
    #[must_use]
    #[track_caller]
    pub fn fail_after(self, share: f64) -> Self {
        self.set(|config| config.fail_after = share)
    }

    /// The share of calls that never end, and for which the service isn't called: [`Fault::Hang`]. 0 to 1, by default
    /// 0.
    ///
    /// # Panics
    ///
    /// If it is out of this range, or all shares together are more than 1.
    #[must_use]
    #[track_caller]
    pub fn hang(self, share: f64) -> Self {
        self.set(|config| config.hang = share)
    }

    /// The share of calls that the service does, and of which the caller never hears: [`Fault::DropReply`]. 0 to 1, by
    /// default 0.
    ///
    /// # Panics
    ///
    /// If it is out of this range, or all shares together are more than 1.
    #[must_use]
    #[track_caller]
    pub fn drop_reply(self, share: f64) -> Self {
        self.set(|config| config.drop_reply = share)
    }

    /// The share of calls that are late, and by how much: [`Fault::Delay`]. 0 to 1, by default 0; at most a year.
    ///
    /// # Panics
    ///
    /// If either is out of its range, or all shares together are more than 1.
    #[must_use]
    #[track_caller]
    pub fn delay(self, share: f64, by: Duration) -> Self {
        self.set(|config| (config.delay, config.delay_for) = (share, by))
    }

    /// With which calls something may go wrong. By default with every call. Those that are spared are not counted.
    #[must_use]
    pub fn when<Req, F>(self, when: F) -> FaultLayer<P, F>
    where
        F: Fn(&Req) -> bool,
    {
        FaultLayer { faults: self.faults, protocol: self.protocol, when }
    }

    /// The plan, to be watched and steered.
    pub fn handle(&self) -> Faults {
        self.faults.clone()
    }

    #[track_caller]
    fn set(self, change: impl FnOnce(&mut FaultConfig)) -> Self {
        let before = or_panic(self.faults.change(change));
        // A plan that nobody else has yet is being set up, which is no event.
        if self.faults.is_shared() {
            event::reconfigured(self.faults.name(), &before, &self.faults.config(), self.faults.seed());
        }
        self
    }
}

impl<C, W> FaultLayer<Http<C>, W> {
    /// What a call that fails is answered: 400 to 599, by default 500.
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn status(self, status: StatusCode) -> Self {
        self.set(|config| config.status = status)
    }

    /// The share of responses whose body breaks off: [`Fault::BreakBody`]. 0 to 1, by default 0.
    ///
    /// # Panics
    ///
    /// If it is out of this range, or all shares together are more than 1.
    #[must_use]
    #[track_caller]
    pub fn break_body(self, share: f64) -> Self {
        self.set(|config| config.break_body = share)
    }
}

impl<C, W> FaultLayer<Grpc<C>, W> {
    /// What a call that fails is answered: anything but `OK`, by default `UNAVAILABLE`.
    ///
    /// # Panics
    ///
    /// If it is `OK`.
    #[must_use]
    #[track_caller]
    pub fn code(self, code: Code) -> Self {
        self.set(|config| config.code = code)
    }

    /// The share of responses whose body breaks off: [`Fault::BreakBody`]. 0 to 1, by default 0.
    ///
    /// # Panics
    ///
    /// If it is out of this range, or all shares together are more than 1.
    #[must_use]
    #[track_caller]
    pub fn break_body(self, share: f64) -> Self {
        self.set(|config| config.break_body = share)
    }
}

impl<S, P: Clone, W: Clone> Layer<S> for FaultLayer<P, W> {
    type Service = FaultService<S, P, W>;

    fn layer(&self, inner: S) -> Self::Service {
        FaultService::new(inner, self.faults.clone(), self.protocol.clone(), self.when.clone())
    }
}

impl<P, W> fmt::Debug for FaultLayer<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultLayer").field(&self.faults).finish()
    }
}
