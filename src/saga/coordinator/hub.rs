//! What all sagas of a coordinator share.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock, Semaphore, watch},
    time::{Instant, timeout},
};

use crate::{
    BoxError, Deadline, Rejection,
    saga::{
        CoordinatorConfig,
        coordinator::{
            clock::Clock, parked::Parked, places::Places, registry::Registry, suspects::Suspects, turns::Turns,
        },
        definition::Resume,
        error::{Kind, SagaError},
        journal::{Invocation, SagaRow, State, Writer},
        machine::Setback,
        meter::Names,
    },
    step::{SagaId, StepContext, StepKey},
};

/// What all sagas of a coordinator share.
pub(crate) struct Hub {
    pub(crate) writer: Writer,
    pub(crate) clock: Clock,
    /// Under which name this coordinator holds sagas; another one each time it starts.
    pub(crate) owner: String,
    pub(crate) config: CoordinatorConfig,
    pub(crate) calls: Registry,
    /// Who is carrying out what an idempotency key was sent with.
    pub(crate) keys: Turns,
    /// Who is working on what nobody else may work on.
    pub(crate) exclusive: Turns,
    /// Sagas that may be what killed their coordinators.
    pub(crate) suspects: Arc<Suspects>,
    /// For what others left.
    pub(crate) places: Arc<Places>,
    /// Sagas by name, to be counted.
    pub(crate) names: Names,
    /// How many are parked, to be shown.
    pub(crate) parked: Parked,
    definitions: Vec<Arc<dyn Resume>>,
    /// How many undos and promised calls are made at once.
    slots: Semaphore,
    /// Every saga at work holds it for reading; whoever drains, for writing.
    gate: Arc<RwLock<()>>,
    /// One operator at a time.
    pub(crate) operator: tokio::sync::Mutex<()>,
    /// Becomes true when nothing new is to be begun.
    pub(crate) closing: watch::Sender<bool>,
}

/// Held by every saga at work.
pub(crate) type AtWork = OwnedRwLockReadGuard<()>;

impl Hub {
    pub(crate) fn new(
        writer: Writer,
        config: CoordinatorConfig,
        calls: Registry,
        definitions: Vec<Arc<dyn Resume>>,
    ) -> Self {
        Self {
            writer,
            clock: Clock::start(),
            owner: SagaId::new().to_string(),
            slots: Semaphore::new(config.at_once),
            places: Arc::new(Places::new(config.recover_at_once)),
            config,
            calls,
            keys: Turns::default(),
            exclusive: Turns::default(),
            suspects: Arc::new(Suspects::new(Instant::now())),
            names: Names::new(),
            parked: Parked::default(),
            definitions,
            gate: Arc::default(),
            operator: tokio::sync::Mutex::default(),
            closing: watch::Sender::new(false),
        }
    }

    /// Leave to work on a saga, until the coordinator is drained.
    pub(crate) fn enter(&self) -> Option<AtWork> {
        let at_work = Arc::clone(&self.gate).try_read_owned().ok()?;
        // In this order: who came in before it is closing is waited for.
        (!*self.closing.borrow()).then_some(at_work)
    }

    /// Lets nobody begin, and waits until nobody works on a saga any more.
    pub(crate) async fn close_gate(&self) {
        self.closing.send_replace(true);
        drop(self.gate.write().await);
    }

    /// The row of a saga that begins now.
    pub(crate) fn row(&self, id: SagaId, name: crate::Name) -> SagaRow {
        let now = self.clock.now();
        SagaRow {
            id,
            name,
            version: 0,
            scope_key: None,
            fingerprint: None,
            exclusive: None,
            state: State::Running,
            owner: Some(self.owner.clone()),
            epoch: 1,
            lease_until: Some(self.lease_until()),
            wake_at: None,
            takeovers: 0,
            parent: None,
            deadline: None,
            trace: None,
            created_at: now,
            ended_at: None,
            expires_at: None,
            answer: None,
        }
    }

    pub(crate) fn lease_until(&self) -> u64 {
        self.clock.now() + u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// Refuses arguments that are too large to be journaled.
    pub(crate) fn check_size(&self, invocation: &Invocation) -> Result<(), SagaError> {
        let (size, limit) = (invocation.args.len(), self.config.argument_limit);
        if size > limit {
            let problem = format!("the arguments of {} take {size} bytes; {limit} are allowed", invocation.call);
            return Err(SagaError::with_source(Kind::Invalid, problem));
        }
        Ok(())
    }

    /// The definition of a saga.
    pub(crate) fn definition(&self, name: &str, version: u32) -> Option<&Arc<dyn Resume>> {
        self.definitions.iter().find(|known| known.name().as_str() == name && known.version() == version)
    }

    /// Makes one attempt at an undo or a promised call. It has its own deadline, and inherits nobody's.
    pub(crate) async fn attempt(&self, key: StepKey, epoch: u64, invocation: &Invocation) -> Result<(), Setback> {
        let Some(target) = self.calls.get(invocation.call.as_str()) else {
            return Err(failed(format!("no call {} is registered", invocation.call)));
        };
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let within = self.config.undo_timeout;
        // Called in there, for it may panic while it reads its arguments.
        let attempt = StepContext::new(key, epoch).scope(async { target.invoke(&invocation.args).await });
        let attempt = Deadline::after(within).scope(AssertUnwindSafe(attempt).catch_unwind());
        match timeout(within, attempt).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(setback(&error)),
            Ok(Err(_panic)) => Err(failed("it panicked".to_owned())),
            Err(_elapsed) => Err(failed(format!("no answer within {within:?}"))),
        }
    }
}

#[cfg(feature = "metrics")]
impl crate::metrics::Watched for Hub {
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        crate::saga::meter::gauges::of(&self.names, &self.parked.counted(), self.writer.watched(), gauges);
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("owner", &self.owner).field("calls", &self.calls).finish_non_exhaustive()
    }
}

fn setback(error: &BoxError) -> Setback {
    match Rejection::find(error) {
        Some(rejection) => Setback::Postponed { wait: rejection.retry_after() },
        None => failed(causes(&**error)),
    }
}

fn failed(reason: String) -> Setback {
    Setback::Failed { reason }
}

/// The longest reason that is journaled, in bytes.
const LONGEST: usize = 500;

/// The error and its sources, as one line of bounded length.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next
        && text.len() < LONGEST
    {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text.truncate(shortened(&text).len());
    text
}

/// As much of a reason as is journaled.
pub(crate) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}
