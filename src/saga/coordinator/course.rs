//! A saga at work: the machine that decides, and what carries its commands out.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::OptionFuture, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::{
    failpoint,
    meter::{Stopwatch, Tallied},
    name::Name,
    saga::{
        coordinator::{
            hub::{AtWork, Hub, shortened},
            places::Place,
        },
        error::{Kind, SagaError},
        event,
        journal::{Ack, Action, Change, Invocation, JournalError, Millis, Room, State, Write, Written},
        machine::{CannotDo, Command, Doing, Item, Machine, NotBegun, Phase},
        meter::{Became, Handles, Sagas},
    },
    step::{Op, SagaId, StepKey, StepOutcome},
};

/// A saga at work.
#[derive(Debug)]
pub(crate) struct Course {
    hub: Arc<Hub>,
    id: SagaId,
    name: Name,
    epoch: u64,
    inner: Mutex<Inner>,
    stage: watch::Sender<Stage>,
    /// Something was put into the inner for the one that conducts.
    put: Notify,
    /// Until it settles: whoever keeps a handle after that keeps nobody from draining.
    at_work: Mutex<Kept>,
    /// Of all sagas of this name.
    sagas: Sagas,
    since: Stopwatch,
}

/// What a saga keeps while it is at work: leave to be, its place among those that are counted, and among those that others
/// left.
#[derive(Debug, Default)]
struct Kept {
    _at_work: Option<(AtWork, Tallied)>,
    place: Option<Place>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// Steps that may be carried out now.
    acts: Vec<u32>,
    /// For the one that conducts.
    acks: Vec<(Ack, u32)>,
    todo: Vec<Todo>,
    /// Whether a task conducts it.
    conducted: bool,
    /// Which way it goes, once that is durable.
    decided: Option<bool>,
    /// Why nothing more is heard of it.
    lost: Option<Lost>,
    /// A call couldn't be promised: the saga must not commit.
    broken_promise: Option<SagaError>,
}

#[derive(Debug)]
enum Todo {
    Try { number: u32, key: StepKey, invocation: Invocation },
    Wake(Millis),
}

/// How far a saga is, for those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It isn't decided.
    Running,
    /// It is durable which way it goes.
    Decided { committed: bool },
    /// It is at rest, or parked, or waits without anybody.
    Settled(State),
    /// Nothing more is heard of it here.
    Lost(Lost),
}

/// Why nothing more is heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    TakenOver,
    KeyTaken,
    Exclusive,
    Journal,
    /// What is journaled doesn't fit its definition.
    Damaged,
}

impl Course {
    /// A saga that began at `created`.
    pub(crate) fn new(hub: Arc<Hub>, at_work: AtWork, name: Name, machine: Machine, created: Millis) -> Arc<Self> {
        let sagas = hub.names.get(&name);
        let at_work = (at_work, sagas.in_flight.enter());
        let since = Stopwatch::started(hub.clock.instant(created));
        let fence = machine.fence();
        let (id, epoch) = (fence.saga, fence.epoch);
        let inner = Inner {
            machine,
            acts: Vec::new(),
            acks: Vec::new(),
            todo: Vec::new(),
            conducted: false,
            decided: None,
            lost: None,
            broken_promise: None,
        };
        Arc::new(Self {
            hub,
            id,
            name,
            epoch,
            inner: Mutex::new(inner),
            stage: watch::Sender::new(Stage::Running),
            put: Notify::new(),
            at_work: Mutex::new(Kept { _at_work: Some(at_work), place: None }),
            sagas,
            since,
        })
    }

    /// It holds `place` until it settles.
    pub(crate) fn occupy(&self, place: Place) {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).place = Some(place);
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn id(&self) -> SagaId {
        self.id
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    #[inline]
    pub(crate) fn meter(&self) -> &Handles {
        self.sagas.of(&self.name)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Tells the machine something, and carries out what can be carried out at once.
    pub(crate) fn tell<R>(&self, tell: impl FnOnce(&mut Machine, Millis) -> R) -> R {
        let now = self.hub.clock.now();
        let mut inner = self.inner();
        let told = tell(&mut inner.machine, now);
        let acks = self.carry_out(&mut inner, None);
        if !acks.is_empty() || !inner.todo.is_empty() {
            inner.acks.extend(acks);
            self.put.notify_one();
        }
        told
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing here waits, so it is done under the lock: writes are queued in the order in which they were decided.
    fn carry_out(&self, inner: &mut Inner, mut room: Option<Room>) -> Vec<(Ack, u32)> {
        let mut acks = Vec::new();
        while let Some(command) = inner.machine.poll() {
            match command {
                Command::Write { mut write, upto } => {
                    // Its row was made when it began, which may be longer ago than a lease.
                    if let Write::Open(row, _) = &mut write {
                        row.lease_until = Some(self.hub.lease_until());
                    }
                    if matches!(&write, Write::Append { change: Change { state: Some(State::Undone), .. }, .. }) {
                        failpoint::hit("C17");
                    }
                    acks.push((self.hub.writer.submit(write, room.take()), upto));
                }
                Command::Act { number } => inner.acts.push(number),
                Command::Undo { number, step, invocation, attempt } => {
                    event::undoing(self, &step, attempt);
                    inner.todo.push(self.attempt(number, step, Op::Undo, invocation));
                }
                Command::Call { number, invocation, attempt } => {
                    event::calling(self, &invocation.call, attempt);
                    inner.todo.push(self.attempt(number, invocation.call.clone(), Op::Act, invocation));
                }
                Command::Wake { at } => inner.todo.push(Todo::Wake(at)),
                Command::Decided { committed } => {
                    inner.decided = Some(committed);
                    self.reach(Stage::Decided { committed }, inner.machine.is_blank());
                }
                Command::Settled(Some(state)) => self.reach(Stage::Settled(state), inner.machine.is_blank()),
                Command::Settled(None) => self.reach(Stage::Lost(inner.lost.unwrap_or(Lost::TakenOver)), false),
            }
        }
        acks
    }

    fn attempt(&self, number: u32, step: Name, op: Op, invocation: Invocation) -> Todo {
        let key = StepKey::new(self.id, step, number, op).expect("names are checked before they are journaled");
        Todo::Try { number, key, invocation }
    }

    fn reach(&self, stage: Stage, is_blank: bool) {
        event::reached(self, stage);
        match stage {
            Stage::Settled(_) if is_blank => self.count_end(Became::Blank),
            Stage::Settled(state) => self.count_end(Became::of(state)),
            Stage::Lost(_) => self.count_end(Became::Lost),
            Stage::Running | Stage::Decided { .. } => {}
        }
        self.stage.send_replace(stage);
        if matches!(stage, Stage::Settled(_) | Stage::Lost(_)) {
            self.leave();
        }
        // Whoever conducts has nothing else to wake it, if this was somebody else's doing.
        self.put.notify_one();
    }

    fn count_end(&self, became: Became) {
        let meter = self.meter();
        meter.ended(became);
        if became.is_rest() {
            meter.seconds.since(self.since);
        }
        if became == Became::Parked {
            self.hub.parked.look_again();
        }
    }

    fn acked(&self, result: Result<Written, JournalError>, upto: u32) {
        let lost = match result {
            Ok(Written::Ok) => return self.tell(|machine, now| machine.durable(upto, now)),
            Ok(Written::KeyTaken(_)) => Lost::KeyTaken,
            Ok(Written::ExclusiveTaken(_)) => Lost::Exclusive,
            Ok(_) => Lost::TakenOver,
            Err(error) => {
                event::journal_failed(self, &error);
                Lost::Journal
            }
        };
        self.lose(lost);
    }

    /// Nothing more is decided here. Said under the lock, so that nothing that is decided meanwhile can be said after it.
    fn lose(&self, lost: Lost) {
        let mut inner = self.inner();
        inner.lost.get_or_insert(lost);
        inner.machine.lose();
        self.carry_out(&mut inner, None);
    }

    fn leave(&self) {
        drop(std::mem::take(&mut *self.at_work.lock().unwrap_or_else(PoisonError::into_inner)));
    }
}

/// Writes that a step waits for. If it is dropped, what becomes of them is heard by the next one, or by who conducts.
struct Awaited<'a> {
    course: &'a Course,
    acks: VecDeque<(Ack, u32)>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if !self.acks.is_empty() {
            self.course.inner().acks.extend(self.acks.drain(..));
            self.course.put.notify_one();
        }
    }
}

/// For the handler.
impl Course {
    pub(crate) fn reserve(&self) -> Result<u32, SagaError> {
        self.inner().machine.reserve().map_err(|not| self.not_begun(not))
    }

    /// What it is doing, seen from outside.
    pub(crate) fn doing(&self, now: Millis) -> Doing {
        self.inner().machine.doing(now)
    }

    /// What the records say of a step or call.
    pub(crate) fn item(&self, number: u32) -> Option<Item> {
        self.inner().machine.progress().item(number).cloned()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.inner().machine.progress().phase()
    }

    /// Returns when the step may be carried out, or must not be.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the step is in the journal or not; it counts as unknown until [`ended`](Machine::ended) says that it was
    /// never begun.
    pub(crate) async fn begin(
        &self,
        number: u32,
        step: Name,
        undo: Option<Invocation>,
        settle: u32,
    ) -> Result<(), SagaError> {
        let room = match self.hub.writer.try_room() {
            Some(room) => room,
            None => self.hub.writer.room().await,
        };
        let acks = {
            let mut inner = self.inner();
            let begun = inner.machine.begin(number, step, undo, settle, self.hub.clock.now());
            begun.map_err(|not| self.not_begun(not))?;
            // Those of steps that were dropped come first: what became of their writes, this one's depends on.
            let mut acks = if inner.conducted { Vec::new() } else { std::mem::take(&mut inner.acks) };
            acks.extend(self.carry_out(&mut inner, Some(room)));
            acks.into()
        };
        let mut awaited = Awaited { course: self, acks };
        while let Some((ack, upto)) = awaited.acks.front_mut() {
            let (result, upto) = (ack.await, *upto);
            awaited.acks.pop_front();
            self.acked(result, upto);
        }
        let mut inner = self.inner();
        let found = inner.acts.iter().position(|act| *act == number);
        let act = found.map(|found| inner.acts.swap_remove(found));
        // It may have been decided since.
        match act.filter(|_| inner.machine.resume().is_ok()) {
            Some(_) => Ok(()),
            None => Err(self.not_begun(if inner.machine.is_lost() { NotBegun::Lost } else { NotBegun::Over })),
        }
    }

    /// Takes numbers for as many steps, and gives the first.
    pub(crate) fn reserve_many(&self, steps: u32) -> Result<u32, SagaError> {
        self.inner().machine.reserve_many(steps).map_err(|not| self.not_begun(not))
    }

    /// It can't be gone on with here: the next start may.
    pub(crate) fn give_up(&self, error: &SagaError) {
        event::given_up(self, error);
        self.lose(Lost::Damaged);
    }

    /// Whether a step of a definition may be carried out again.
    pub(crate) fn resume(&self) -> Result<(), SagaError> {
        self.inner().machine.resume().map_err(|not| self.not_begun(not))
    }

    pub(crate) fn ended(&self, number: u32, outcome: StepOutcome, reason: &str, output: Option<Bytes>) -> StepOutcome {
        self.tell(|machine, now| machine.ended(number, outcome, reason, output, now))
    }

    /// What can't be promised makes the saga fail.
    pub(crate) fn then(&self, call: Result<Invocation, SagaError>) {
        let now = self.hub.clock.now();
        let mut inner = self.inner();
        let promised = call.and_then(|call| inner.machine.then(call, now).map_err(|not| self.not_begun(not)));
        if let Err(error) = promised {
            inner.broken_promise.get_or_insert(error);
        }
    }

    /// Commits, and returns when that is durable.
    pub(crate) async fn commit(self: &Arc<Self>, answer: Option<Bytes>) -> Result<(), SagaError> {
        self.commit_and(answer, false).await
    }

    /// As [`commit`](Self::commit); if it is `held`, steps follow that only go forward.
    pub(crate) async fn commit_and(self: &Arc<Self>, answer: Option<Bytes>, held: bool) -> Result<(), SagaError> {
        let broken = self.inner().broken_promise.take();
        if let Some(broken) = broken {
            self.fail(&broken.to_string(), None).await?;
            return Err(broken);
        }
        let mut watch = self.watch();
        self.tell(|machine, now| machine.commit(answer, held, now));
        self.conducted();
        match self.decided(&mut watch).await? {
            true => Ok(()),
            false => Err(SagaError::new(Kind::Over)),
        }
    }

    /// Decides that it must not have happened, and returns when that is durable.
    pub(crate) async fn fail(self: &Arc<Self>, reason: &str, answer: Option<Bytes>) -> Result<(), SagaError> {
        let mut watch = self.watch();
        let reason = shortened(reason);
        self.tell(|machine, now| machine.fail(reason, answer, now));
        self.conducted();
        match self.decided(&mut watch).await? {
            true => Err(SagaError::new(Kind::Over)),
            false => Ok(()),
        }
    }

    async fn decided(&self, watch: &mut watch::Receiver<Stage>) -> Result<bool, SagaError> {
        let stage = *watch.wait_for(|stage| *stage != Stage::Running).await.expect("the sender is in here");
        // What was decided stays so, whatever came after it: parked, or lost.
        match (self.inner().decided, stage) {
            (Some(committed), _) => Ok(committed),
            (None, Stage::Lost(lost)) => Err(self.lost(lost)),
            (None, _) => Ok(false),
        }
    }

    fn not_begun(&self, not: NotBegun) -> SagaError {
        match (not, *self.stage.borrow()) {
            (_, Stage::Lost(lost)) => self.lost(lost),
            (NotBegun::TooMany, _) => SagaError::new(Kind::TooManySteps),
            (NotBegun::Over | NotBegun::Lost, _) => SagaError::new(Kind::Over),
        }
    }

    fn lost(&self, lost: Lost) -> SagaError {
        SagaError::new(match lost {
            Lost::TakenOver => Kind::TakenOver,
            Lost::KeyTaken => Kind::KeyTaken,
            Lost::Exclusive => Kind::Exclusive,
            Lost::Journal => Kind::Journal,
            Lost::Damaged => Kind::Invalid,
        })
    }
}

/// For what follows the decision.
impl Course {
    /// Does what an operator decided, and returns when that is durable.
    pub(crate) async fn operate(
        self: &Arc<Self>,
        action: Action,
        number: Option<u32>,
        note: &str,
        resume: bool,
    ) -> Result<Result<(), CannotDo>, SagaError> {
        let (operated, acks) = {
            let mut inner = self.inner();
            let operated = inner.machine.operate(action, number, note, resume, self.hub.clock.now());
            (operated, self.carry_out(&mut inner, None))
        };
        for (ack, upto) in acks {
            let result = ack.await;
            self.acked(result, upto);
        }
        match *self.stage.borrow() {
            Stage::Lost(lost) => Err(self.lost(lost)),
            _ => Ok(operated),
        }
    }

    /// Has it conducted by a task of its own until it settles, if it hasn't.
    pub(crate) fn conducted(self: &Arc<Self>) {
        let settled = matches!(*self.stage.borrow(), Stage::Settled(_) | Stage::Lost(_));
        if !settled && !std::mem::replace(&mut self.inner().conducted, true) {
            tokio::spawn(Arc::clone(self).conduct());
        }
    }

    async fn conduct(self: Arc<Self>) {
        let this = &*self;
        let mut acks = FuturesUnordered::new();
        let mut tries = FuturesUnordered::new();
        let mut wake: Option<Millis> = None;
        let mut closing = self.hub.closing.subscribe();
        loop {
            let (new_acks, todo) = {
                let mut inner = self.inner();
                (std::mem::take(&mut inner.acks), std::mem::take(&mut inner.todo))
            };
            acks.extend(new_acks.into_iter().map(|(ack, upto)| async move { (ack.await, upto) }));
            for todo in todo {
                match todo {
                    Todo::Wake(at) => wake = Some(wake.map_or(at, |earlier| earlier.min(at))),
                    Todo::Try { number, key, invocation } => tries.push(async move {
                        let is_undo = key.op() == Op::Undo;
                        failpoint::reach(if is_undo { "C15" } else { "C12" }).await;
                        let result = this.hub.attempt(key, this.epoch, &invocation).await;
                        failpoint::reach(if is_undo { "C16" } else { "C13" }).await;
                        (is_undo, number, invocation.call, result)
                    }),
                }
            }
            if matches!(*self.stage.borrow(), Stage::Settled(_) | Stage::Lost(_)) {
                return;
            }
            // What waits is left to the next start.
            if *closing.borrow() && acks.is_empty() && tries.is_empty() {
                event::left(this);
                self.count_end(Became::LetGo);
                self.leave();
                return;
            }
            let timer = OptionFuture::from(wake.map(|at| sleep(self.hub.clock.until(at))));
            tokio::select! {
                Some((result, upto)) = acks.next() => self.acked(result, upto),
                Some((is_undo, number, call, result)) = tries.next() => {
                    event::tried(this, if is_undo { Op::Undo } else { Op::Act }, number, &call, &result);
                    self.tell(|machine, now| machine.tried(number, result, now, fastrand::f64()));
                }
                Some(()) = timer => {
                    wake = None;
                    self.tell(|machine, now| machine.woken(now));
                }
                () = self.put.notified() => {}
                _ = closing.changed() => {}
            }
        }
    }
}
