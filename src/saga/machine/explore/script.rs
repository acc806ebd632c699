//! What the handler does, or the runner of a definition.

use super::{
    Fault, Scenario,
    participant::Barrier,
    world::{LATEST, POISONED, World},
};
use crate::{
    saga::{
        journal::{Entry, Invocation, Record},
        machine::{Phase, Status},
    },
    step::StepOutcome,
};

/// The code whose saga it is, as far as it came.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Handler {
    stage: usize,
    branches: Vec<Branch>,
    /// Steps whose result it has.
    done: Vec<u32>,
    /// It parks what would be next.
    poisoned: bool,
    attempts: u32,
}

#[derive(Debug, Clone, Hash)]
struct Branch {
    number: u32,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Waiting,
    Acting,
    Done,
    Failed,
    Parked,
}

impl Handler {
    pub(super) fn resumed(poisoned: bool) -> Self {
        Self { poisoned, ..Self::default() }
    }
}

impl Scenario {
    pub(super) fn is_third_party(&self) -> bool {
        self.barrier == Barrier::None
    }

    /// Whether a definition goes on where it was, as the keeper decides it.
    pub(super) fn resumes(&self, records: &[Record], poisoned: bool) -> bool {
        let pivot = self.pivot.map(|stage| self.stages[..stage].iter().sum::<usize>() as u32);
        let of_pivot =
            records.iter().filter(|record| record.entry.number().is_some_and(|number| Some(number) == pivot));
        let at_pivot = of_pivot.last().is_some_and(|record| !matches!(record.entry, Entry::Refused { .. }));
        let is_decided = records.iter().any(|record| matches!(record.entry, Entry::Commit));
        self.definition && (is_decided || at_pivot || (self.goes_on && !poisoned))
    }
}

impl World<'_> {
    /// Begins the stage that it is at, or ends.
    pub(super) fn go_on(&mut self, node: usize) -> Result<(), Fault> {
        let Some(handler) = &mut self.nodes[node].handler else { return Ok(()) };
        let stage = handler.stage;
        handler.branches.clear();
        handler.attempts = 0;
        let (scenario, now) = (self.scenario, self.now);
        let Some(width) = scenario.stages.get(stage) else {
            let machine = &mut self.nodes[node].machine;
            match scenario.pivot {
                Some(_) => machine.complete(now),
                None => machine.commit(None, false, now),
            }
            return Ok(());
        };
        for branch in 0..*width {
            self.begin(node, stage, branch);
        }
        self.stage_goes_on(node)
    }

    fn begin(&mut self, node: usize, stage: usize, branch: usize) {
        let (scenario, now) = (self.scenario, self.now);
        let machine = &mut self.nodes[node].machine;
        let number = if scenario.definition {
            (scenario.stages[..stage].iter().sum::<usize>() + branch) as u32
        } else {
            machine.reserve().expect("it isn't over, and there are few steps")
        };
        let item = machine.progress().item(number).cloned();
        let may_repeat = scenario.goes_on || scenario.pivot.is_some_and(|pivot| stage >= pivot);
        let at = match item.as_ref().map(|item| item.status) {
            None => {
                // Steps after the pivot may have one, which must never be called.
                let has_undo = scenario.pivot.is_none_or(|pivot| stage != pivot);
                let undo = has_undo.then(|| Invocation { call: "undo".into(), args: "{}".into() });
                let settle = if scenario.is_third_party() { LATEST as u32 + 1 } else { 0 };
                let done = self.nodes[node].handler.iter().flat_map(|handler| &handler.done);
                self.before.extend(done.map(|earlier| (*earlier, number)));
                match self.nodes[node].machine.begin(number, "step".into(), undo, settle, now) {
                    Ok(()) => At::Waiting,
                    Err(_) => At::Parked,
                }
            }
            Some(Status::Done | Status::Closed) => At::Done,
            Some(_) if may_repeat => match machine.resume() {
                Ok(()) => At::Acting,
                Err(_) => At::Parked,
            },
            Some(_) => At::Failed,
        };
        let Some(handler) = &mut self.nodes[node].handler else { return };
        handler.branches.push(Branch { number, at });
        if at == At::Done {
            handler.done.push(number);
        }
        if at == At::Acting {
            self.carry_out(node, number);
        }
    }

    /// What is to be done about a command to act.
    pub(super) fn act(&mut self, node: usize, number: u32) -> Result<(), Fault> {
        let Some(handler) = &mut self.nodes[node].handler else { return Ok(()) };
        let waiting = handler.branches.iter_mut().find(|branch| branch.number == number && branch.at == At::Waiting);
        let Some(branch) = waiting else { return Ok(()) };
        branch.at = At::Acting;
        self.carry_out(node, number);
        self.stage_goes_on(node)
    }

    fn carry_out(&mut self, node: usize, number: u32) {
        match &mut self.nodes[node].handler {
            Some(handler) if handler.poisoned => self.park(node, number, POISONED),
            _ => self.send(node, number, crate::step::Op::Act, false),
        }
    }

    fn park(&mut self, node: usize, number: u32, reason: &str) {
        let now = self.now;
        self.nodes[node].machine.park(number, reason, now);
        self.ends(node, number, At::Parked);
    }

    fn ends(&mut self, node: usize, number: u32, at: At) {
        let Some(handler) = &mut self.nodes[node].handler else { return };
        if let Some(branch) = handler.branches.iter_mut().find(|branch| branch.number == number) {
            branch.at = at;
        }
    }

    pub(super) fn step_ended(&mut self, node: usize, number: u32, outcome: StepOutcome) -> Result<(), Fault> {
        let (scenario, now) = (self.scenario, self.now);
        if self.nodes[node].handler.is_none() {
            return Ok(());
        }
        let output = (scenario.definition && outcome == StepOutcome::Done).then(|| "{}".into());
        let outcome = self.nodes[node].machine.ended(number, outcome, "", output, now);
        let handler = self.nodes[node].handler.as_mut().expect("was just there");
        if outcome == StepOutcome::Done {
            handler.done.push(number);
            self.ends(node, number, At::Done);
            return self.stage_goes_on(node);
        }
        let stage = handler.stage;
        let forward = scenario.pivot.is_some_and(|pivot| stage > pivot);
        let decides = scenario.pivot == Some(stage) && outcome != StepOutcome::Refused;
        if forward || decides {
            handler.attempts += 1;
            if handler.attempts >= self.scenario.rules().attempts {
                self.park(node, number, "asked too often");
            } else if self.nodes[node].machine.resume().is_ok() {
                self.carry_out(node, number);
            } else {
                self.ends(node, number, At::Parked);
            }
        } else {
            self.ends(node, number, At::Failed);
        }
        self.stage_goes_on(node)
    }

    /// Goes on when the stage is over.
    fn stage_goes_on(&mut self, node: usize) -> Result<(), Fault> {
        let (scenario, now) = (self.scenario, self.now);
        let Some(handler) = &mut self.nodes[node].handler else { return Ok(()) };
        let has = |at: At| handler.branches.iter().any(|branch| branch.at == at);
        let under_way = has(At::Waiting) || has(At::Acting);
        let failed = has(At::Failed);
        if has(At::Parked) && !under_way {
            self.nodes[node].handler = None;
            return Ok(());
        }
        if under_way && (scenario.definition || !failed) {
            return Ok(());
        }
        let stage = handler.stage;
        if failed {
            return self.failed(node);
        }
        let is_forward = self.nodes[node].machine.progress().phase() == Phase::Forward;
        if scenario.pivot == Some(stage) && is_forward {
            self.nodes[node].machine.commit(None, true, now);
            return Ok(());
        }
        self.next_stage(node)
    }

    fn failed(&mut self, node: usize) -> Result<(), Fault> {
        let now = self.now;
        let handler = self.nodes[node].handler.as_mut().expect("it is what failed");
        let dropped: Vec<(u32, At)> = handler.branches.drain(..).map(|branch| (branch.number, branch.at)).collect();
        for (number, at) in dropped {
            let machine = &mut self.nodes[node].machine;
            match at {
                At::Waiting => drop(machine.ended(number, StepOutcome::Refused, "dropped", None, now)),
                At::Acting => {
                    machine.ended(number, StepOutcome::Unknown, "dropped", None, now);
                    self.drop_step(node, number);
                }
                At::Done | At::Failed | At::Parked => {}
            }
        }
        if self.scenario.goes_on_without && self.chooser.choose(2) == 1 {
            return self.next_stage(node);
        }
        let machine = &mut self.nodes[node].machine;
        if machine.progress().phase() == Phase::Forward {
            machine.fail("a step failed", None, now);
        }
        Ok(())
    }

    fn next_stage(&mut self, node: usize) -> Result<(), Fault> {
        let handler = self.nodes[node].handler.as_mut().expect("it goes on");
        handler.stage += 1;
        if handler.stage == 1 && !self.scenario.definition {
            for _ in 0..self.scenario.promised {
                let call = Invocation { call: "call".into(), args: "{}".into() };
                let _ = self.nodes[node].machine.then(call, self.now);
            }
        }
        self.go_on(node)
    }

    /// It is durable which way the saga goes; whoever waits for it is told.
    pub(super) fn decided(&mut self, node: usize, committed: bool) -> Result<(), Fault> {
        let Some(handler) = &mut self.nodes[node].handler else { return Ok(()) };
        if self.scenario.definition && committed && self.scenario.pivot == Some(handler.stage) && self.told.is_none() {
            self.told = Some(true);
            return self.next_stage(node);
        }
        let after_crash = node > 0;
        if !after_crash {
            self.told = Some(committed);
        } else if self.scenario.pivot == Some(handler.stage) && committed {
            return self.next_stage(node);
        }
        if !(self.scenario.pivot.is_some() && committed) {
            self.nodes[node].handler = None;
        }
        Ok(())
    }
}
