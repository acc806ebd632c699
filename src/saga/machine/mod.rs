//! The protocol of a saga, decided without doing anything: events go in, commands come out.
//!
//! No clock, no chance, no disk, no network: so every crash at every point can be tried.

#[cfg(all(test, not(buttress_loom)))]
mod explore;
mod progress;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

pub(crate) use self::progress::{Inconsistent, Item, Phase, Progress, Status, Work};
use crate::{
    backoff::Backoff,
    failpoint::Planted,
    name::Name,
    saga::journal::{Action, Change, Entry, Fence, Invocation, Millis, Record, SagaRow, State, Write},
    step::StepOutcome,
};

/// How much is tried before somebody must look at it, and how long is remembered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    /// How often an undo or a promised call is tried.
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    /// How long a saga at rest is kept.
    pub(crate) retention: Duration,
    /// How many steps and calls a saga has at most.
    pub(crate) steps: u32,
}

/// One saga, in the hands of one coordinator.
///
/// Whoever holds it tells it what happened, and carries out what [`poll`](Self::poll) gives, in order.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    fence: Fence,
    /// The row, until the first write creates it.
    unopened: Option<Box<SagaRow>>,
    has_answer: bool,
    progress: Progress,
    /// What the undos and promised calls are at, one an item.
    live: Vec<Live>,
    /// Decided but not handed out: rides with the next write.
    unsent: Vec<Record>,
    change: Change,
    /// Records below this one are durable.
    durable: u32,
    /// Steps that wait for their intent to be durable.
    waiting: Vec<u32>,
    /// The number of the next step or call.
    next_number: u32,
    /// More steps may come after the commit: those of a definition, after its pivot.
    held: bool,
    told: Told,
    /// When it was, if another coordinator began it.
    taken_over: Option<Millis>,
    /// Records below this one are another coordinator's.
    inherited: u32,
    /// Another coordinator holds the saga, or the journal failed: nothing more is decided here.
    lost: bool,
    commands: VecDeque<Command>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Live {
    Idle,
    Running,
    Until(Millis),
}

/// What has been said already, so that it is said once.
#[derive(Debug, Default, Hash)]
struct Told {
    decided: bool,
    settled: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    /// Write this; when it is durable, say so with [`Machine::durable`] and `upto`.
    Write { write: Write, upto: u32 },
    /// The step's intent is durable: carry it out.
    Act { number: u32 },
    /// Make this call, to undo the step.
    Undo { number: u32, step: Name, attempt: u32, invocation: Invocation },
    /// Make this call, as promised.
    Call { number: u32, attempt: u32, invocation: Invocation },
    /// Which way the saga goes is durable: `true` is forward.
    Decided { committed: bool },
    /// Come back [then](Machine::woken).
    Wake { at: Millis },
    /// There is nothing left to be done here: the saga is at rest, or parked, or `None`, lost.
    Settled(Option<State>),
}

/// A step can't begin, or a call not be promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBegun {
    /// The saga is decided.
    Over,
    /// It has as many steps as a saga may have.
    TooMany,
    /// Another coordinator holds it, or the journal failed.
    Lost,
}

/// Why an undo or a promised call didn't happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setback {
    /// It was tried and didn't work.
    Failed { reason: String },
    /// It wasn't tried: a policy of ours refused it. No attempt is used up.
    Postponed { wait: Option<Duration> },
}

/// An operator asked for what can't be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CannotDo(pub(crate) String);

/// How long to wait when a policy refused and didn't say for how long.
const POSTPONED: Duration = Duration::from_secs(1);

impl Machine {
    /// A saga that begins. Nothing of it is written before its first step.
    pub(crate) fn new(row: SagaRow, rules: Rules) -> Self {
        let mut machine = Self::with(&row, Progress::default(), rules);
        machine.unopened = Some(Box::new(row));
        machine
    }

    /// A saga that was taken over. What is to be done about it is decided by [`recover`](Self::recover).
    pub(crate) fn taken_over(row: &SagaRow, records: &[Record], rules: Rules) -> Result<Self, Inconsistent> {
        let mut machine = Self::with(row, Progress::of_unfinished(records)?, rules);
        machine.durable = machine.progress.next();
        machine.inherited = machine.progress.next();
        machine.next_number = machine.progress.next_number();
        machine.live = vec![Live::Idle; machine.progress.items().len()];
        Ok(machine)
    }

    fn with(row: &SagaRow, progress: Progress, rules: Rules) -> Self {
        Self {
            rules,
            fence: Fence { saga: row.id, owner: row.owner.clone().unwrap_or_default(), epoch: row.epoch },
            unopened: None,
            has_answer: row.answer.is_some(),
            progress,
            live: Vec::new(),
            unsent: Vec::new(),
            change: Change::default(),
            durable: 0,
            waiting: Vec::new(),
            next_number: 0,
            held: false,
            told: Told::default(),
            taken_over: None,
            inherited: 0,
            lost: false,
            commands: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub(crate) fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether nothing has been written of it, so that nothing has to be.
    pub(crate) fn is_blank(&self) -> bool {
        self.unopened.is_some()
    }
}

/// What the handler does.
impl Machine {
    /// A saga of a definition begins with what it was given.
    pub(crate) fn given(&mut self, input: Bytes, now: Millis) {
        self.note(Entry::Begun { input }, now);
    }

    /// The number of the next step, taken for it.
    pub(crate) fn reserve(&mut self) -> Result<u32, NotBegun> {
        self.reserve_many(1)
    }

    /// As many numbers in a row; the first is given.
    pub(crate) fn reserve_many(&mut self, steps: u32) -> Result<u32, NotBegun> {
        self.may_begin()?;
        let (first, next) = (self.next_number, self.next_number.saturating_add(steps));
        if next > self.rules.steps {
            return Err(NotBegun::TooMany);
        }
        self.next_number = next;
        Ok(first)
    }

    /// A step is to be carried out, under a number that was [reserved](Self::reserve) or that its definition gives it.
    /// [`Command::Act`] follows when that is durable.
    pub(crate) fn begin(
        &mut self,
        number: u32,
        step: Name,
        undo: Option<Invocation>,
        settle: u32,
        now: Millis,
    ) -> Result<(), NotBegun> {
        self.may_begin()?;
        self.note(Entry::Intent { number, step, undo, settle }, now);
        if planted(Planted::IntentAfterAction) {
            self.commands.push_back(Command::Act { number });
            return Ok(());
        }
        self.waiting.push(number);
        self.flush();
        Ok(())
    }

    /// Whether a step of a definition that was begun before may be carried out again, under the same key.
    pub(crate) fn resume(&mut self) -> Result<(), NotBegun> {
        self.may_begin()
    }

    /// An attempt at the step came to this; returns what that makes of the step. It rides with the next write: until then
    /// it counts as unknown.
    ///
    /// That an attempt was refused says nothing of one before it that may have happened.
    pub(crate) fn ended(
        &mut self,
        number: u32,
        outcome: StepOutcome,
        reason: &str,
        output: Option<Bytes>,
        now: Millis,
    ) -> StepOutcome {
        self.waiting.retain(|waiting| *waiting != number);
        let Some(item) = self.progress.item(number) else { return outcome };
        let may_have_happened = item.status == Status::Unknown || item.begun < self.inherited;
        let outcome = match outcome {
            StepOutcome::Refused if may_have_happened => StepOutcome::Unknown,
            outcome => outcome,
        };
        // A refused step may be tried again, after the pivot.
        let is_under_way = !matches!(item.status, Status::Done | Status::Closed);
        // After the commit, what began before it and isn't known to have happened is being undone.
        let is_undone = matches!(self.progress.phase(), Phase::Committed { seq, .. } if item.begun < seq);
        if self.may_begin().is_err() || !is_under_way || is_undone {
            return outcome;
        }
        let reason = reason.to_owned();
        self.note(
            match outcome {
                StepOutcome::Done => Entry::Done { number, output },
                StepOutcome::Refused => Entry::Refused { number, reason },
                StepOutcome::Unknown if planted(Planted::UnknownTakenForRefused) => Entry::Refused { number, reason },
                StepOutcome::Unknown => Entry::Unknown { number, reason },
            },
            now,
        );
        outcome
    }

    /// A call is promised for after the commit. It rides with the next write.
    pub(crate) fn then(&mut self, call: Invocation, now: Millis) -> Result<u32, NotBegun> {
        let number = self.reserve()?;
        self.note(Entry::Then { number, call }, now);
        Ok(number)
    }

    /// The saga has happened. With `held` more steps may follow, until [`complete`](Self::complete).
    pub(crate) fn commit(&mut self, answer: Option<Bytes>, held: bool, now: Millis) {
        if self.progress.phase() != Phase::Forward || self.lost {
            return;
        }
        // An answer that is to be given again is kept, though nothing happened for it.
        if self.is_blank() && self.progress.items().is_empty() && !held && answer.is_none() {
            return self.nothing_happened(true);
        }
        self.held = held;
        // A step that waits for its intent hasn't happened, and now mustn't.
        self.waiting.clear();
        self.note(Entry::Commit, now);
        self.change.state = Some(State::Committed);
        self.keep(answer);
        self.end_if_nothing_is_left(now);
        self.flush();
    }

    /// After a commit that was held: no more steps follow.
    pub(crate) fn complete(&mut self, now: Millis) {
        self.held = false;
        self.advance(now);
        self.flush();
    }

    /// The pivot, or a step after it, can't be carried out, however often it was tried.
    pub(crate) fn park(&mut self, number: u32, reason: &str, now: Millis) {
        if self.lost {
            return;
        }
        self.note(Entry::Parked { number, reason: reason.to_owned() }, now);
        self.held = false;
        self.advance(now);
        self.flush();
    }

    /// The saga must not have happened.
    pub(crate) fn fail(&mut self, reason: &str, answer: Option<Bytes>, now: Millis) {
        if self.progress.phase() != Phase::Forward || self.lost {
            return;
        }
        if self.is_blank() && !self.progress.items().iter().any(|item| matches!(item.work, Work::Step { .. })) {
            return self.nothing_happened(false);
        }
        self.held = false;
        self.waiting.clear();
        self.note(Entry::Undo { reason: reason.to_owned() }, now);
        self.change.state = Some(State::Undoing);
        self.keep(answer);
        self.end_if_nothing_is_left(now);
        self.flush();
    }

    fn nothing_happened(&mut self, committed: bool) {
        (self.told.decided, self.told.settled) = (true, true);
        self.lost = true;
        self.commands.push_back(Command::Decided { committed });
        self.commands.push_back(Command::Settled(Some(if committed { State::Done } else { State::Undone })));
    }

    fn keep(&mut self, answer: Option<Bytes>) {
        self.has_answer |= answer.is_some();
        self.change.answer = answer;
    }

    fn may_begin(&self) -> Result<(), NotBegun> {
        match self.progress.phase() {
            _ if self.lost => Err(NotBegun::Lost),
            Phase::Forward => Ok(()),
            Phase::Committed { .. } if self.held => Ok(()),
            _ => Err(NotBegun::Over),
        }
    }
}

/// What comes back: from the journal, from undos and calls, from the clock.
impl Machine {
    /// Records below `upto` are durable.
    pub(crate) fn durable(&mut self, upto: u32, now: Millis) {
        if self.lost {
            return;
        }
        self.durable = self.durable.max(upto);
        let (progress, durable, commands) = (&self.progress, self.durable, &mut self.commands);
        self.waiting.retain(|number| {
            let is_durable = progress.item(*number).is_some_and(|item| item.begun < durable);
            if is_durable {
                commands.push_back(Command::Act { number: *number });
            }
            !is_durable
        });
        self.advance(now);
        self.flush();
    }

    /// Another coordinator holds the saga, or whether it is written isn't known: it is left alone.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
        self.waiting.clear();
        self.commands.clear();
        if !std::mem::replace(&mut self.told.settled, true) {
            self.commands.push_back(Command::Settled(None));
        }
    }

    /// An undo or a promised call came to this. `chance` is between 0 and 1, for the jitter.
    pub(crate) fn tried(&mut self, number: u32, result: Result<(), Setback>, now: Millis, chance: f64) {
        let Some(index) = self.progress.items().iter().position(|item| item.number == number) else { return };
        if self.lost || self.live[index] != Live::Running {
            return;
        }
        self.live[index] = Live::Idle;
        let item = &self.progress.items()[index];
        match result {
            Ok(()) => {
                let is_call = matches!(item.work, Work::Call(_));
                self.note(if is_call { Entry::Called { number } } else { Entry::Undone { number } }, now);
                self.change.progress = true;
            }
            Err(Setback::Postponed { wait }) => {
                self.live[index] = Live::Until(now.saturating_add(millis(wait.unwrap_or(POSTPONED)).max(1)));
            }
            Err(Setback::Failed { reason }) => {
                let attempt = item.attempts + 1;
                let wait = self.rules.backoff.delay(attempt - 1, None, chance);
                self.note(Entry::Failed { number, attempt, reason: reason.clone() }, now);
                if attempt >= self.rules.attempts {
                    self.note(Entry::Parked { number, reason }, now);
                } else {
                    let at = now.saturating_add(millis(wait).max(1));
                    self.live[index] = Live::Until(at);
                    self.change.wake_at = Some(at);
                }
            }
        }
        self.advance(now);
        self.flush();
    }

    /// Some time has passed.
    pub(crate) fn woken(&mut self, now: Millis) {
        self.advance(now);
        self.flush();
    }

    /// Decides what becomes of a saga that was taken over: it goes on where it is decided which way, and back where it
    /// isn't. With `resume` it is left to its definition, which goes on where it was. With `poisoned`, which says why,
    /// what would be done is parked instead.
    pub(crate) fn recover(&mut self, poisoned: Option<&str>, resume: bool, now: Millis) {
        self.taken(now);
        self.held = resume;
        if self.progress.phase() == Phase::Forward && !resume {
            self.note(Entry::Undo { reason: "its coordinator died".to_owned() }, now);
            self.change.state = Some(State::Undoing);
        }
        if let Some(reason) = poisoned {
            let open = self.progress.items().iter().filter(|item| self.progress.is_open(item) && !item.parked);
            for number in open.map(|item| item.number).collect::<Vec<_>>() {
                self.note(Entry::Parked { number, reason: reason.to_owned() }, now);
            }
        }
        self.end_if_nothing_is_left(now);
        self.flush();
    }

    fn taken(&mut self, now: Millis) {
        self.taken_over = Some(now);
        let (owner, epoch) = (self.fence.owner.clone(), self.fence.epoch);
        self.note(Entry::Takeover { owner, epoch }, now);
    }

    /// An operator decided about a saga that was parked, and therefore taken over to be told. With `resume` its definition
    /// goes on where it was.
    pub(crate) fn operate(
        &mut self,
        action: Action,
        number: Option<u32>,
        note: &str,
        resume: bool,
        now: Millis,
    ) -> Result<(), CannotDo> {
        let parked = |item: &Item| item.parked && self.progress.is_open(item);
        match (action, number) {
            (Action::Skip, None) => return Err(CannotDo("skipping takes the number of the step to skip".to_owned())),
            (Action::Abandon, _) | (Action::Retry, None) if self.progress.items().iter().any(parked) => {}
            (Action::Abandon, _) | (Action::Retry, None) => return Err(CannotDo("nothing in it is parked".to_owned())),
            (_, Some(number)) if self.progress.item(number).is_some_and(parked) => {}
            (_, Some(number)) => return Err(CannotDo(format!("step {number} is not parked"))),
        }
        self.taken(now);
        self.note(Entry::Operator { action, number, note: note.to_owned() }, now);
        self.change.state = Some(match self.progress.phase() {
            Phase::Forward => State::Running,
            Phase::Committed { .. } => State::Committed,
            _ => State::Undoing,
        });
        self.change.progress = true;
        self.held = resume;
        if action == Action::Abandon {
            self.end(State::Abandoned, now);
        } else {
            self.advance(now);
        }
        self.flush();
        Ok(())
    }
}

/// How it goes on.
impl Machine {
    fn note(&mut self, entry: Entry, now: Millis) {
        let record = Record { seq: self.progress.next(), at: now, entry };
        self.progress.apply(&record).expect("what is decided here is consistent");
        self.live.resize(self.progress.items().len(), Live::Idle);
        self.unsent.push(record);
    }

    /// Hands out what is decided, as one write.
    fn flush(&mut self) {
        if self.unsent.is_empty() || self.lost {
            return;
        }
        let records = std::mem::take(&mut self.unsent);
        let change = std::mem::take(&mut self.change);
        let write = match self.unopened.take() {
            Some(mut row) => {
                change.apply(&mut row);
                Write::Open(row, records)
            }
            None => Write::Append { fence: self.fence.clone(), records, change },
        };
        self.commands.push_back(Command::Write { write, upto: self.progress.next() });
    }

    /// Begins what can be begun, once it is durable which way to go.
    fn advance(&mut self, now: Millis) {
        if self.lost || self.told.settled {
            return;
        }
        let decided = match self.progress.phase() {
            Phase::Forward => return self.end_if_nothing_is_left(now),
            Phase::Committed { seq, .. } | Phase::Undoing { seq, .. } => seq < self.durable,
            Phase::Ended { seq, state } => return self.settle(seq, state),
        };
        if !decided {
            return;
        }
        self.tell_decided();
        for index in 0..self.progress.items().len() {
            self.undertake(index, now);
        }
        self.end_if_nothing_is_left(now);
        if let Some(at) = self.next_wake() {
            self.commands.push_back(Command::Wake { at });
        }
    }

    fn undertake(&mut self, index: usize, now: Millis) {
        let item = &self.progress.items()[index];
        let due = match self.live[index] {
            Live::Idle => self.progress.not_before(item, self.taken_over) <= now,
            Live::Until(at) => at <= now,
            Live::Running => false,
        };
        if item.parked || !self.progress.is_open(item) || !self.progress.is_its_turn(item) {
            return;
        }
        if !due {
            if self.live[index] == Live::Idle {
                self.live[index] = Live::Until(self.progress.not_before(item, self.taken_over));
            }
            return;
        }
        // What came after the commit goes forward only, and is its definition's to do.
        let is_forward = matches!((self.progress.phase(), &item.work),
            (Phase::Committed { seq, .. }, Work::Step { .. }) if item.begun > seq);
        if is_forward {
            return;
        }
        let Some(invocation) = item.invocation().cloned() else { return };
        let (number, attempt) = (item.number, item.attempts + 1);
        self.commands.push_back(match &item.work {
            Work::Step { name, .. } => Command::Undo { number, step: name.clone(), attempt, invocation },
            Work::Call(_) => Command::Call { number, attempt, invocation },
        });
        self.live[index] = Live::Running;
    }

    fn end_if_nothing_is_left(&mut self, now: Millis) {
        let final_state = match self.progress.phase() {
            Phase::Committed { .. } if !self.held => State::Done,
            Phase::Undoing { .. } => State::Undone,
            // A pivot that is parked: nobody knows which way to go.
            Phase::Forward if !self.held && self.progress.items().iter().any(|item| self.progress.is_open(item)) => {
                State::Undone
            }
            _ => return,
        };
        let (mut open, mut parked) = (0, 0);
        for item in self.progress.items().iter().filter(|item| self.progress.is_open(item)) {
            open += 1;
            parked += u32::from(item.parked);
        }
        if open == 0 {
            self.end(final_state, now);
        } else if open == parked {
            self.change.state = Some(State::Parked);
            self.change.let_go = true;
            self.change.wake_at = None;
            // Nothing new may be written any more; what is unsent still is.
            let seq = self.progress.next() - 1;
            if self.unsent.is_empty() {
                self.settle(seq, State::Parked);
            }
        }
    }

    fn end(&mut self, state: State, now: Millis) {
        self.note(Entry::End { state }, now);
        self.change.state = Some(state);
        self.change.ended = Some((now, now.saturating_add(millis(self.rules.retention))));
        self.change.let_go = true;
        self.change.wake_at = None;
        self.change.release_key = state != State::Done && !self.has_answer;
    }

    fn settle(&mut self, seq: u32, state: State) {
        if seq >= self.durable {
            return;
        }
        self.tell_decided();
        if !std::mem::replace(&mut self.told.settled, true) {
            self.commands.push_back(Command::Settled(Some(state)));
        }
    }

    fn tell_decided(&mut self) {
        // A pivot that is parked has decided nothing.
        let Some(committed) = self.progress.decided() else { return };
        if !std::mem::replace(&mut self.told.decided, true) {
            self.commands.push_back(Command::Decided { committed });
        }
    }

    fn next_wake(&self) -> Option<Millis> {
        let waiting = self.progress.items().iter().zip(&self.live).filter_map(|(item, live)| match live {
            Live::Until(at) if !item.parked && self.progress.is_open(item) => Some(*at),
            _ => None,
        });
        waiting.min()
    }
}

/// Whether a mistake is planted, in the process or in what is explored in this thread.
fn planted(mistake: Planted) -> bool {
    #[cfg(all(test, not(buttress_loom)))]
    if explore::planted(mistake) {
        return true;
    }
    crate::failpoint::planted(mistake)
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
