//! A coordinator, its successors, the disk, the network and the other side.

use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    rc::Rc,
};

use super::{
    Fault, Scenario,
    chooser::Chooser,
    fingerprint,
    participant::{Answer, Participant},
    script::Handler,
    store::Store,
    wrong,
};
use crate::{
    saga::{
        journal::{Action, Entry, Millis, SagaRow, State, Write, Written},
        machine::{Command, Item, Machine, Setback},
    },
    step::{Op, SagaId, StepOutcome},
};

/// By when an action has arrived at a third party, or never does: its deadline goes along.
pub(super) const LATEST: Millis = 1000;
const LEASE: Millis = 5000;
/// Why a saga is parked whose coordinators die.
pub(super) const POISONED: &str = "taken over too often";

#[derive(Clone)]
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    /// Chooses what happens next.
    pub(super) chooser: Chooser,
    /// What was chosen until now.
    chosen: Option<Rc<Chosen>>,
    pub(super) now: Millis,
    pub(super) store: Store,
    pub(super) nodes: Vec<Node>,
    /// The one that works on the saga, if any; others that are alive don't know yet that they don't.
    current: Option<usize>,
    requests: Vec<Request>,
    pub(super) participant: Participant,
    pub(super) left: Left,
    /// What can't be undone, or called, until an operator has looked at it.
    stubborn: Option<(u32, Op)>,
    /// Steps that an operator took into their own hands.
    pub(super) by_hand: Vec<u32>,
    /// What the client was told.
    pub(super) told: Option<bool>,
    /// Which steps had given their result before which were begun.
    pub(super) before: Vec<(u32, u32)>,
    /// Steps that were parked at some time: others needn't wait for them.
    pub(super) given_up: Vec<u32>,
    /// The latest epoch in which something happened.
    pub(super) newest: u64,
    log: Option<Vec<String>>,
}

/// How often what may still happen.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub(super) struct Left {
    pub(super) crashes: u8,
    /// Coordinators that are paused and taken for dead.
    pub(super) zombies: u8,
    /// Steps that fail.
    pub(super) failures: u8,
    /// Undos and promised calls that don't work.
    pub(super) setbacks: u8,
    /// Operators' actions.
    pub(super) actions: u8,
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) machine: Machine,
    pub(super) handler: Option<Handler>,
    /// Written but not durable.
    queue: VecDeque<(Write, u32)>,
    wake: Option<Millis>,
    dead: bool,
    settled: bool,
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.machine.fence.hash(state);
        if self.dead {
            return;
        }
        // The rest follows from that, or is the same for all.
        let Machine { unopened, progress, live, unsent, change, durable, waiting, .. } = &self.machine;
        (unopened, progress, live, unsent, change, durable, waiting).hash(state);
        let Machine { next_number, held, told, taken_over, inherited, lost, has_answer, commands, .. } = &self.machine;
        (next_number, held, told, taken_over, inherited, lost, has_answer, commands).hash(state);
        (&self.handler, &self.queue, self.wake, self.dead, self.settled).hash(state);
    }
}

#[derive(Debug, Clone, Hash)]
struct Request {
    number: u32,
    op: Op,
    is_call: bool,
    node: usize,
    sent: Millis,
    /// It was carried out, and this is on the way back.
    answer: Option<Came>,
    /// Nobody waits for it any more.
    orphan: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Came {
    Step(StepOutcome),
    Worked,
    Failed,
    Postponed,
}

/// What was chosen in one event, and in those before it.
struct Chosen {
    path: Vec<u8>,
    nth: u32,
    before: Option<Rc<Chosen>>,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The first write of the node's queue is durable.
    Durable(usize),
    /// The request arrives.
    Arrive(usize),
    /// Its answer does.
    Answer(usize),
    /// Time passes until the node wants to be woken.
    Wake,
    Crash,
    /// The node stands still, and another takes over.
    Pause,
}

impl<'a> World<'a> {
    /// Its first step is asked for.
    pub(super) fn new(scenario: &'a Scenario, log: bool) -> Result<Self, Fault> {
        let mut world = Self::blank(scenario, log);
        let row = SagaRow { lease_until: Some(world.now + LEASE), ..blank(scenario) };
        let mut machine = Machine::new(row, scenario.rules());
        if scenario.definition {
            machine.given("{}".into(), world.now);
        }
        world.install(machine, Some(Handler::default()));
        world.go_on(0)?;
        world.pump(0)?;
        Ok(world)
    }

    fn blank(scenario: &'a Scenario, log: bool) -> Self {
        Self {
            chooser: Chooser::default(),
            chosen: None,
            now: 1_000_000,
            store: Store { unfenced: scenario.unfenced, ..Store::default() },
            nodes: Vec::new(),
            current: None,
            requests: Vec::new(),
            participant: Participant::new(scenario.barrier),
            left: scenario.left,
            stubborn: None,
            by_hand: Vec::new(),
            told: None,
            before: Vec::new(),
            given_up: Vec::new(),
            newest: 0,
            log: log.then(Vec::new),
            scenario,
        }
    }

    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }

    pub(super) fn take_log(&mut self) -> Vec<String> {
        self.log.take().unwrap_or_default()
    }

    /// Goes on by one event, whichever is chosen, or finds that nothing happens any more: then what must be so is checked.
    /// Returns whether it has come to rest.
    pub(super) fn step(&mut self) -> Result<bool, Fault> {
        match self.next_event() {
            Some(event) => {
                self.happen(event)?;
                self.lose_what_is_futile();
                Ok(false)
            }
            None if self.takes_over()? => Ok(false),
            None => self.check().map(|()| true),
        }
    }

    /// What was chosen, event by event, since it began.
    pub(super) fn choices(&self) -> Vec<Vec<u8>> {
        let mut choices = vec![self.chooser.path()];
        let earlier = std::iter::successors(self.chosen.as_deref(), |chosen| chosen.before.as_deref());
        choices.extend(earlier.map(|chosen| chosen.path.clone()));
        choices.reverse();
        choices
    }

    /// How many events it took to come here.
    pub(super) fn events(&self) -> u32 {
        self.chosen.as_ref().map_or(0, |chosen| chosen.nth)
    }

    /// What was chosen becomes the past.
    pub(super) fn turn_over(&mut self) {
        let (path, nth) = (std::mem::take(&mut self.chooser).path(), self.events() + 1);
        self.chosen = Some(Rc::new(Chosen { path, nth, before: self.chosen.take() }));
    }

    fn install(&mut self, machine: Machine, handler: Option<Handler>) {
        let node = Node { machine, handler, queue: VecDeque::new(), wake: None, dead: false, settled: false };
        self.nodes.push(node);
        self.current = Some(self.nodes.len() - 1);
    }

    /// What tells this from any other: where it is the same, nothing else can follow.
    pub(super) fn fingerprint(&self) -> u64 {
        let Self { now, store, nodes, current, participant, left, .. } = self;
        // What is on the way is overtaken in every order.
        let mut requests: Vec<u64> = self.requests.iter().map(fingerprint::of).collect();
        requests.sort_unstable();
        let past = (&self.stubborn, &self.by_hand, self.told, &self.before, &self.given_up, self.newest);
        fingerprint::of((now, store, nodes, current, requests, participant, left, past))
    }

    fn next_event(&mut self) -> Option<Event> {
        let mut events = Vec::new();
        let is_current = |node: usize| Some(node) == self.current;
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, node)| is_current(*index) && !node.dead) {
            events.extend((!node.queue.is_empty()).then_some(Event::Durable(index)));
        }
        let event = |(index, request): (usize, &Request)| match request.answer {
            Some(_) => Event::Answer(index),
            None => Event::Arrive(index),
        };
        let requests = || self.requests.iter().enumerate();
        events.extend(requests().filter(|(_, request)| is_current(request.node) && !request.orphan).map(event));
        let wakes = self.nodes.iter().filter(|node| !node.dead && !node.settled && node.wake.is_some());
        if events.is_empty() && wakes.count() > 0 {
            events.push(Event::Wake);
        }
        // What need not happen now.
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, node)| !is_current(*index) && !node.dead) {
            events.extend((!node.queue.is_empty()).then_some(Event::Durable(index)));
        }
        events.extend(requests().filter(|(_, request)| !is_current(request.node) || request.orphan).map(event));
        if let Some(node) = self.current.map(|current| &self.nodes[current])
            && !node.settled
            && !node.machine.is_lost()
        {
            events.extend((self.left.crashes > 0).then_some(Event::Crash));
            let can_be_taken = self.store.row.as_ref().is_some_and(|row| !row.state.is_final() && row.owner.is_some());
            events.extend((self.left.zombies > 0 && can_be_taken).then_some(Event::Pause));
        }
        if events.is_empty() {
            return None;
        }
        Some(events[self.chooser.choose(events.len())])
    }

    fn happen(&mut self, event: Event) -> Result<(), Fault> {
        self.log(|| format!("{event:?}"));
        match event {
            Event::Durable(node) => self.durable(node),
            Event::Arrive(request) => self.arrive(request),
            Event::Answer(request) => {
                let request = self.requests.remove(request);
                self.answered(&request)
            }
            Event::Wake => self.wake(),
            Event::Crash => {
                self.left.crashes -= 1;
                let current = self.current.take().expect("it works on the saga");
                let node = &mut self.nodes[current];
                node.dead = true;
                node.handler = None;
                // Of what was written but not synced, any beginning may have come to the disk.
                let queue = std::mem::take(&mut node.queue);
                let kept = self.chooser.choose(queue.len() + 1);
                for (write, _) in queue.into_iter().take(kept) {
                    self.store.write(&write)?;
                }
                self.forget(|request| request.node == current);
                self.take_over()
            }
            Event::Pause => {
                self.left.zombies -= 1;
                self.current = None;
                self.take_over()
            }
        }
    }

    /// What is on the way, and nobody waits for, arrives or doesn't.
    fn forget(&mut self, whose: impl Fn(&Request) -> bool) {
        for index in (0..self.requests.len()).rev() {
            if !whose(&self.requests[index]) {
                continue;
            }
            if self.requests[index].answer.is_some() || self.chooser.choose(2) == 0 {
                self.requests.remove(index);
            } else {
                self.requests[index].orphan = true;
            }
        }
    }

    /// What nobody waits for, and would do nothing whenever it arrived, needn't be waited for in every order.
    fn lose_what_is_futile(&mut self) {
        let Self { requests, participant, nodes, scenario, .. } = self;
        requests.retain(|request| {
            let sent = scenario.sent_as(nodes[request.node].machine.fence().epoch);
            !request.orphan || participant.may_heed(request.number, request.op, sent)
        });
    }

    /// The answer to a step that was dropped is of no interest; the step may yet happen.
    pub(super) fn drop_step(&mut self, node: usize, number: u32) {
        self.forget(|request| request.node == node && request.number == number && request.op == Op::Act);
    }

    fn take_over(&mut self) -> Result<(), Fault> {
        let unfinished = |row: &SagaRow| !row.state.is_final() && row.state != State::Parked;
        if !self.store.row.as_ref().is_some_and(unfinished) {
            return Ok(());
        }
        let (row, records) = self.store.claim(format!("node {}", self.nodes.len()), self.now + LEASE);
        let mut machine = self.taken_over(&row, &records)?;
        let poisoned = (row.takeovers > self.scenario.takeovers).then_some(POISONED);
        let resumes = self.scenario.resumes(&records, poisoned.is_some());
        machine.recover(poisoned, resumes, self.now);
        self.resumed(machine, resumes, poisoned.is_some())
    }

    fn taken_over(&self, row: &SagaRow, records: &[crate::saga::journal::Record]) -> Result<Machine, Fault> {
        Machine::taken_over(row, records, self.scenario.rules())
            .map_err(|inconsistent| wrong(format!("I8: {}", inconsistent.0)))
    }

    fn resumed(&mut self, machine: Machine, resumes: bool, poisoned: bool) -> Result<(), Fault> {
        self.given_up.extend(machine.progress().items().iter().filter(|item| item.parked).map(|item| item.number));
        self.install(machine, resumes.then(|| Handler::resumed(poisoned)));
        let node = self.nodes.len() - 1;
        self.pump(node)?;
        if resumes {
            self.go_on(node)?;
            self.pump(node)?;
        }
        Ok(())
    }

    /// Nothing happens any more; somebody may see to what is left. Returns whether anybody did.
    fn takes_over(&mut self) -> Result<bool, Fault> {
        self.current = None;
        match &self.store.row {
            Some(row) if row.state == State::Parked && self.left.actions > 0 => self.operate().map(|()| true),
            Some(row) if !row.state.is_final() && row.state != State::Parked => {
                if self.nodes.len() > 8 {
                    return Err(wrong("I5: it is taken over for ever"));
                }
                self.take_over().map(|()| true)
            }
            _ => Ok(false),
        }
    }

    fn operate(&mut self) -> Result<(), Fault> {
        self.left.actions -= 1;
        let (row, records) = self.store.claim(format!("node {}", self.nodes.len()), self.now + LEASE);
        let mut machine = self.taken_over(&row, &records)?;
        let parked = |item: &&Item| item.parked && machine.progress().is_open(item);
        let parked: Vec<u32> = machine.progress().items().iter().filter(parked).map(|item| item.number).collect();
        let Some(first) = parked.first().copied() else { return Err(wrong("it is parked, but nothing in it is")) };
        let (action, number) = match self.chooser.choose(4) {
            0 => (Action::Retry, None),
            1 => (Action::Retry, Some(first)),
            2 => (Action::Skip, Some(first)),
            _ => (Action::Abandon, None),
        };
        match action {
            Action::Retry => self.stubborn = None,
            Action::Skip => self.by_hand.push(first),
            Action::Abandon => self.by_hand.extend(&parked),
        }
        self.log(|| format!("operator: {action:?} {number:?}"));
        let resumes = self.scenario.definition && action != Action::Abandon && !self.store.is_undone();
        machine
            .operate(action, number, "looked at it", resumes, self.now)
            .map_err(|cannot| wrong(format!("an operator can't {action:?}: {}", cannot.0)))?;
        self.resumed(machine, resumes, false)
    }

    fn durable(&mut self, node: usize) -> Result<(), Fault> {
        let (write, upto) = self.nodes[node].queue.pop_front().expect("was seen");
        let now = self.now;
        match self.store.write(&write)? {
            Written::Ok => self.nodes[node].machine.durable(upto, now),
            _ => {
                self.nodes[node].machine.lose();
                self.nodes[node].handler = None;
                self.nodes[node].queue.clear();
            }
        }
        self.pump(node)
    }

    fn wake(&mut self) -> Result<(), Fault> {
        let due = |node: &Node| node.wake.filter(|_| !node.dead && !node.settled);
        let at = self.nodes.iter().filter_map(due).min().expect("was seen");
        self.now = self.now.max(at);
        let now = self.now;
        if self.scenario.is_third_party() {
            self.requests.retain(|request| request.op == Op::Undo || request.is_call || request.sent + LATEST >= now);
        }
        for index in 0..self.nodes.len() {
            if due(&self.nodes[index]).is_some_and(|at| at <= now) {
                self.nodes[index].wake = None;
                self.nodes[index].machine.woken(now);
                self.pump(index)?;
            }
        }
        Ok(())
    }

    fn arrive(&mut self, index: usize) -> Result<(), Fault> {
        let Request { number, op, is_call, node, orphan, .. } = self.requests[index].clone();
        let epoch = self.nodes[node].machine.fence().epoch;
        let sent = self.scenario.sent_as(epoch);
        let repeatable = is_call || op == Op::Undo;
        // 0 works; others don't, or nobody hears that they did.
        let choices = match repeatable {
            _ if orphan => 1,
            true if self.stubborn == Some((number, op)) => 0,
            true if self.left.setbacks > 0 => 5,
            false if self.left.failures > 0 => 5,
            _ => 1,
        };
        let choice = if choices == 0 { 1 } else { self.chooser.choose(choices) };
        let happens = matches!(choice, 0 | 2);
        let (answer, happened) = match happens {
            true => self.participant.execute(number, op, sent),
            false => (Answer::Lost, false),
        };
        self.log(|| format!("  {op} of {number}, epoch {epoch}: choice {choice}, {answer:?}, {happened}"));
        if happened {
            self.may_happen(number, op, epoch)?;
        }
        if orphan {
            self.requests.remove(index);
            return Ok(());
        }
        let came = match (repeatable, choice, answer) {
            (true, 0, Answer::Ok) => Came::Worked,
            (true, 0, _) => Came::Failed,
            (false, 0, Answer::Ok) => Came::Step(StepOutcome::Done),
            (false, 0, Answer::Undone) => Came::Step(StepOutcome::Refused),
            (false, 1, _) => Came::Step(StepOutcome::Refused),
            (false, ..) => Came::Step(StepOutcome::Unknown),
            (true, 3, _) => Came::Postponed,
            (true, ..) => Came::Failed,
        };
        if choice > 0 && choices > 0 {
            *(if repeatable { &mut self.left.setbacks } else { &mut self.left.failures }) -= 1;
        }
        if repeatable && choice == 4 {
            self.stubborn = Some((number, op));
        }
        if !repeatable && choice == 4 {
            // The answer is that nobody knows, and the action is still on its way.
            let late = Request { orphan: true, ..self.requests[index].clone() };
            self.requests.push(late);
        }
        self.requests[index].answer = Some(came);
        Ok(())
    }

    fn answered(&mut self, request: &Request) -> Result<(), Fault> {
        let (node, number, now) = (request.node, request.number, self.now);
        if self.nodes[node].dead {
            return Ok(());
        }
        let failed = |reason: &str| Err(Setback::Failed { reason: reason.to_owned() });
        let machine = &mut self.nodes[node].machine;
        match request.answer.expect("it is the answer") {
            Came::Step(outcome) => self.step_ended(node, number, outcome)?,
            Came::Worked => machine.tried(number, Ok(()), now, 0.5),
            Came::Failed => machine.tried(number, failed("didn't work"), now, 0.5),
            Came::Postponed => machine.tried(number, Err(Setback::Postponed { wait: None }), now, 0.5),
        }
        self.pump(node)
    }

    /// Carries out what a machine wants done.
    pub(super) fn pump(&mut self, index: usize) -> Result<(), Fault> {
        while let Some(command) = self.nodes[index].machine.poll() {
            self.log(|| format!("  node {index}: {command:?}"));
            match command {
                Command::Write { write, upto } => {
                    if let Write::Append { records, .. } = &write {
                        self.given_up.extend(records.iter().filter_map(|record| match record.entry {
                            Entry::Parked { number, .. } => Some(number),
                            _ => None,
                        }));
                    }
                    self.nodes[index].queue.push_back((write, upto));
                }
                Command::Act { number } => self.act(index, number)?,
                Command::Undo { number, .. } => {
                    if !self.store.is_undone() && !self.store.is_committed() {
                        return Err(wrong("an undo before its decision is durable"));
                    }
                    self.send(index, number, Op::Undo, false);
                }
                Command::Call { number, .. } => {
                    if !self.store.is_committed() {
                        return Err(wrong("I7: a promised call before the commit is durable"));
                    }
                    self.send(index, number, Op::Act, true);
                }
                Command::Decided { committed } => {
                    let is = if committed { self.store.is_committed() } else { self.store.is_undone() };
                    if !is && self.store.row.is_some() {
                        return Err(wrong(format!("I6: told {committed}, which is not durable")));
                    }
                    self.decided(index, committed)?;
                }
                Command::Wake { at } => {
                    if at <= self.now {
                        return Err(wrong("woken for nothing"));
                    }
                    let wake = &mut self.nodes[index].wake;
                    *wake = Some(wake.map_or(at, |earlier| earlier.min(at)));
                }
                Command::Settled(state) => {
                    self.nodes[index].settled = true;
                    let now = self.store.row.as_ref().map(|row| row.state);
                    let is_current = Some(index) == self.current;
                    if is_current && state.is_some() && now.is_some() && state != now {
                        return Err(wrong(format!("settled as {state:?}, and the journal says {now:?}")));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn send(&mut self, node: usize, number: u32, op: Op, is_call: bool) {
        let sent = self.now;
        self.requests.push(Request { number, op, is_call, node, sent, answer: None, orphan: false });
    }
}

fn blank(scenario: &Scenario) -> SagaRow {
    SagaRow {
        id: SagaId::from_bytes([7; 16]),
        name: "explored".into(),
        version: u32::from(scenario.definition),
        scope_key: None,
        fingerprint: None,
        exclusive: None,
        state: State::Running,
        owner: Some("node 0".to_owned()),
        epoch: 1,
        lease_until: None,
        wake_at: None,
        takeovers: 0,
        parent: None,
        deadline: None,
        trace: None,
        created_at: 0,
        ended_at: None,
        expires_at: None,
        answer: None,
    }
}
