//! The coordinator: begins sagas, and sees to it that none is left lying.

pub(crate) mod clock;
mod config;
pub(crate) mod course;
pub(crate) mod hub;
pub(crate) mod keeper;
pub(crate) mod parked;
pub(crate) mod places;
pub(crate) mod registry;
pub(crate) mod suspects;
pub(crate) mod turns;

pub use self::config::CoordinatorConfig;

use std::{error::Error, fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tower_service::Service;

use crate::{
    BoxError, Deadline, InvalidConfig, failpoint,
    name::Name,
    saga::{
        Call, Saga, SagaDefinition,
        coordinator::{
            course::Course,
            hub::{Hub, causes},
            registry::Registry,
        },
        definition::{Plan, Resume, ServeSaga},
        error::{Kind, SagaError},
        event,
        journal::{Journal, JournalError, MemoryJournal, Write, Writer},
        machine::Machine,
        meter::CutOff,
    },
    step::{SagaId, check_name},
};

/// Begins sagas, writes down what they do, and undoes or finishes what was left behind: by a handler that failed, by a
/// process that died.
///
/// Cheap to clone; clones are the same coordinator. When the last is gone, nothing new is taken over any more; to end in
/// good order, [`drain`](Self::drain) it.
#[derive(Debug, Clone)]
pub struct Coordinator {
    hub: Arc<Hub>,
}

/// A coordinator that has yet to be told who is to be called: [`Coordinator::sqlite`], [`Coordinator::in_memory`].
#[must_use = "a coordinator begins when it is started"]
pub struct CoordinatorBuilder {
    name: Name,
    writer: Box<dyn FnOnce(Name) -> Result<Writer, JournalError> + Send>,
    calls: Registry,
    definitions: Vec<Arc<dyn Resume>>,
    problems: Vec<String>,
    config: CoordinatorConfig,
}

/// What a saga's row says of the request that it is to carry out.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// Of its definition; 0 without one.
    pub(crate) version: u32,
    pub(crate) scope_key: Option<String>,
    pub(crate) fingerprint: Option<Bytes>,
    pub(crate) exclusive: Option<String>,
    pub(crate) parent: Option<(SagaId, String)>,
    pub(crate) trace: Option<String>,
    pub(crate) deadline: Option<Deadline>,
}

/// Why a coordinator doesn't start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The journal can't be opened, read or written.
    Journal(JournalError),
    /// A setting makes no sense.
    Config(InvalidConfig),
    /// A call was registered twice, or under a name that is none.
    Call(String),
    /// Unfinished sagas in the journal name calls that nobody registered.
    Unregistered {
        /// The names of the calls.
        calls: Vec<String>,
        /// The definitions, by name and version.
        definitions: Vec<(String, u32)>,
    },
}

/// What a [drain](Coordinator::drain) left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Whether every saga came to rest, or to a wait, in time. What was cut off is undone or finished when a coordinator
    /// next starts.
    pub in_time: bool,
}

impl Coordinator {
    /// A coordinator with its journal in the SQLite file `path`, which is made if it isn't there: what is acknowledged
    /// survives the loss of power. One process has the file to itself.
    #[cfg(feature = "saga-sqlite")]
    pub fn sqlite(path: impl Into<std::path::PathBuf>) -> CoordinatorBuilder {
        let path = path.into();
        CoordinatorBuilder::new(move |name| Writer::threaded_as(name, crate::saga::journal::SqliteJournal::open(path)?))
    }

    /// A coordinator with a journal of your own, or an SQLite one with settings of your own. It is driven on a thread of its
    /// own, and may block.
    pub fn with_journal(journal: impl Journal) -> CoordinatorBuilder {
        CoordinatorBuilder::new(move |name| Writer::threaded_as(name, journal))
    }

    /// A coordinator with its journal in memory: nothing survives the process. For tests, and for sagas that need not.
    pub fn in_memory() -> CoordinatorBuilder {
        Self::with_inline_journal(MemoryJournal::new())
    }

    /// A coordinator with a journal of your own that doesn't block: it is written in whichever task has something to write.
    /// Clones of a [`MemoryJournal`] are one journal, so a test can let a second coordinator find what the first left.
    pub fn with_inline_journal(journal: impl Journal) -> CoordinatorBuilder {
        CoordinatorBuilder::new(move |name| Ok(Writer::inline_as(name, journal)))
    }

    /// Carries out `handler` as a saga called `name`, without a layer: `Ok` commits, and anything else undoes. It runs as a
    /// task of its own, so that it is not cut off with whoever waits for it.
    ///
    /// # Errors
    ///
    /// The handler's own error, or a [`SagaError`] if the saga can't be begun or its commit can't be written.
    ///
    /// # Panics
    ///
    /// If the handler does: the saga is undone, and the panic goes on.
    pub async fn scope<T, E, Fut>(
        &self,
        name: impl Into<Name>,
        handler: impl FnOnce(Saga) -> Fut + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SagaError> + fmt::Display + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let saga = self.begin(name.into())?;
        let task = tokio::spawn(async move {
            let inner = saga.clone();
            // Called in there, for it may panic before it is a future.
            let handling = tokio::spawn(async move { handler(inner).await });
            match handling.await {
                Ok(Ok(value)) => saga.course().commit(None).await.map(|()| Ok(value)),
                Ok(Err(error)) => saga.course().fail(&error.to_string(), None).await.map(|()| Err(error)),
                Err(cut) => {
                    event::cut_off(saga.course(), CutOff::Panicked);
                    // Whether that could be written down changes nothing of the panic.
                    let _ = saga.course().fail(CutOff::Panicked.reason(), None).await;
                    match cut.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => Err(SagaError::new(Kind::Draining)),
                    }
                }
            }
        });
        match task.await {
            Ok(ended) => ended?,
            Err(cut) => match cut.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(SagaError::new(Kind::Draining).into()),
            },
        }
    }

    /// A service that carries `definition` out for each state it is called with.
    ///
    /// # Panics
    ///
    /// If this coordinator was not told of the definition, by [`define`](CoordinatorBuilder::define), before it started:
    /// after a crash it couldn't go on with its sagas.
    #[track_caller]
    pub fn serve<O, A>(&self, definition: &SagaDefinition<O, A>) -> ServeSaga<O> {
        let Plan { name, version, .. } = &definition.plan;
        let is_defined = self.hub.definition(name.as_str(), *version).is_some();
        assert!(is_defined, "saga {name} version {version} must be defined before the coordinator starts");
        ServeSaga::new(self.clone(), definition.plan.clone())
    }

    /// A saga that begins: nothing of it is written before its first step.
    pub(crate) fn begin(&self, name: Name) -> Result<Saga, SagaError> {
        self.begin_from(name, Origin::default())
    }

    /// As [`begin`](Self::begin), with what its row says of where it comes from.
    pub(crate) fn begin_from(&self, name: Name, origin: Origin) -> Result<Saga, SagaError> {
        let at_work = self.hub.enter().ok_or_else(|| SagaError::new(Kind::Draining))?;
        let mut row = self.hub.row(SagaId::new(), name.clone());
        row.version = origin.version;
        row.scope_key = origin.scope_key;
        row.fingerprint = origin.fingerprint;
        row.exclusive = origin.exclusive;
        row.parent = origin.parent;
        row.trace = origin.trace;
        row.deadline = origin.deadline.map(|deadline| self.hub.clock.at(deadline.instant()));
        let created = row.created_at;
        let machine = Machine::new(row, self.hub.config.rules());
        let course = Course::new(Arc::clone(&self.hub), at_work, name, machine, created);
        course.meter().begun.increment();
        Ok(Saga::new(course))
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Ends in good order: begins nothing new, waits for what is at work for at most `within`, lets go of what is left, so
    /// that another coordinator can take it over at once, and closes the journal's file.
    ///
    /// # Errors
    ///
    /// The journal failed. What is left is taken over when its lease has run out, or at the next start.
    pub async fn drain(&self, within: Duration) -> Result<Drained, JournalError> {
        self.hub.closing.send_replace(true);
        failpoint::reach("C21").await;
        let in_time = timeout(within, self.hub.close_gate()).await.is_ok();
        self.hub.writer.write(Write::Release { owner: self.hub.owner.clone() }).await?;
        self.hub.writer.close().await;
        Ok(Drained { in_time })
    }
}

// ===== impl CoordinatorBuilder =====

impl CoordinatorBuilder {
    pub(crate) fn new(writer: impl FnOnce(Name) -> Result<Writer, JournalError> + Send + 'static) -> Self {
        Self {
            name: Name::from("sagas"),
            writer: Box::new(writer),
            calls: Registry::default(),
            definitions: Vec::new(),
            problems: Vec::new(),
            config: CoordinatorConfig::default(),
        }
    }

    /// What its journal is called in events and metrics; by default `sagas`. Its sagas have names of their own. Worth while
    /// where a process has several coordinators.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn named(self, name: impl Into<Name>) -> Self {
        Self { name: name.into().required(), ..self }
    }

    /// Says which service makes a call. It may have any layers on it; [`StepLayer`](crate::step) tells the other side which
    /// step is undone. Its error means that it didn't work, and is tried again; what it gives otherwise is of no interest.
    ///
    /// It is called without anybody's deadline, budget or limits but its own. A refusal by one of its own policies, an open
    /// breaker say, uses up no attempt.
    pub fn on<A, S>(mut self, call: Call<A>, service: S) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        S: Service<A> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        if let Err(error) = check_name(call.name()) {
            self.problems.push(error.to_string());
        }
        if !self.calls.insert(call.name(), call.is_shown(), service) {
            self.problems.push(format!("call {} is registered twice", call.name()));
        }
        self
    }

    /// Tells it of a definition, so that it can [serve](Coordinator::serve) it, and go on with the sagas of it that it finds
    /// in the journal.
    pub fn define<O, A>(mut self, definition: &SagaDefinition<O, A>) -> Self
    where
        O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        if let Err(problem) = definition.plan.register(&mut self.calls, &definition.plan.top()) {
            self.problems.push(problem);
        }
        self.definitions.push(Arc::new(definition.plan.clone()));
        self
    }

    /// Sets how patient it is, and how long it remembers.
    pub fn config(self, config: CoordinatorConfig) -> Self {
        Self { config, ..self }
    }

    /// Opens the journal, takes over what was left in it, or as much as it may
    /// [hold at once](CoordinatorConfig::recover_at_once), and begins to undo or finish that.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. In particular, unfinished sagas in the journal name a call that nobody registered: then whatever
    /// it was to undo would never be undone.
    pub async fn start(self) -> Result<Coordinator, StartError> {
        self.config.validate().map_err(StartError::Config)?;
        if let Some(problem) = self.problems.into_iter().next() {
            return Err(StartError::Call(problem));
        }
        let (open, name) = (self.writer, self.name);
        let writer = tokio::task::spawn_blocking(move || open(name))
            .await
            .unwrap_or_else(|cut| std::panic::resume_unwind(cut.into_panic()))
            .map_err(StartError::Journal)?;
        let needs = writer.ask(|journal| journal.needs()).await.map_err(StartError::Journal)?;
        let unregistered: Vec<String> = needs.calls.into_iter().filter(|call| self.calls.get(call).is_none()).collect();
        let hub = Arc::new(Hub::new(writer, self.config, self.calls, self.definitions));
        let mut definitions = needs.definitions;
        definitions.retain(|(name, version)| hub.definition(name, *version).is_none());
        if !unregistered.is_empty() || !definitions.is_empty() {
            return Err(StartError::Unregistered { calls: unregistered, definitions });
        }
        #[cfg(feature = "metrics")]
        crate::metrics::watch(&hub);
        parked::look(&hub).await;
        keeper::take_over(&hub).await.map_err(StartError::Journal)?;
        keeper::keep(&hub);
        Ok(Coordinator { hub })
    }
}

impl fmt::Debug for CoordinatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorBuilder")
            .field("calls", &self.calls)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

// ===== impl StartError =====

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => f.write_str(&causes(error)),
            Self::Config(invalid) => invalid.fmt(f),
            Self::Call(problem) => f.write_str(problem),
            Self::Unregistered { calls, definitions } => {
                f.write_str("the journal holds unfinished sagas that need what is not registered:")?;
                for call in calls {
                    write!(f, " call {call},")?;
                }
                for (name, version) in definitions {
                    write!(f, " definition {name} version {version},")?;
                }
                f.write_str(" register it, under the name it had, until they are at rest")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(invalid) => Some(invalid),
            _ => None,
        }
    }
}
