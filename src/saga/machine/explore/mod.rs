//! Every crash at every point, tried: a small world, and depth first through whatever could happen in it.
//!
//! What is chosen: which step fails and how, whether its action still arrives after that, where the coordinator dies and
//! what of its last writes came to the disk, where it dies again while it recovers, where it stands still and another takes
//! over, which undo doesn't work and for how long, what an operator does about it, and in which order what is under way
//! arrives. After each run nothing moves any more, and [what must be so](check) is checked.

mod check;
mod chooser;
mod claims;
mod fingerprint;
mod participant;
mod script;
mod store;
mod world;

use std::{any::Any, cell::Cell, collections::HashSet, panic::AssertUnwindSafe, time::Duration};

use self::{
    chooser::Chooser,
    participant::Barrier,
    world::{Left, World},
};
use super::Rules;
use crate::{
    backoff::{Backoff, Jitter},
    failpoint::Planted,
    saga::journal::Record,
};

/// A saga, and what may happen to it.
#[derive(Debug, Clone)]
struct Scenario {
    /// How many steps run side by side, stage by stage.
    stages: Vec<usize>,
    /// Calls promised after the first stage.
    promised: usize,
    /// The handler may go on without a step that failed.
    goes_on_without: bool,
    definition: bool,
    pivot: Option<usize>,
    /// A definition goes on after a crash before its pivot.
    goes_on: bool,
    barrier: Barrier,
    /// A mistake: every epoch is sent as the first.
    epochless: bool,
    /// A mistake: the journal writes whoever holds the saga.
    unfenced: bool,
    takeovers: u32,
    left: Left,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault(String);

fn wrong(what: impl Into<String>) -> Fault {
    Fault(what.into())
}

impl Scenario {
    fn of(stages: &[usize]) -> Self {
        Self {
            stages: stages.to_vec(),
            promised: 0,
            goes_on_without: false,
            definition: false,
            pivot: None,
            goes_on: false,
            barrier: Barrier::On,
            epochless: false,
            unfenced: false,
            takeovers: 10,
            left: Left::default(),
        }
    }

    /// The epoch that goes along with what a coordinator asks for.
    fn sent_as(&self, epoch: u64) -> u64 {
        if self.epochless { 1 } else { epoch }
    }

    fn rules(&self) -> Rules {
        Rules {
            attempts: 2,
            backoff: Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::None),
            retention: Duration::from_secs(3600),
            steps: 100,
        }
    }

    /// Goes through everything that can happen. What comes out the same is gone on from once.
    fn explore(&self) -> Result<Explored, (Fault, Vec<Vec<u8>>)> {
        let mut explored = Explored::default();
        let mut seen = HashSet::new();
        let mut ahead = vec![World::new(self, false).map_err(|fault| (fault, Vec::new()))?];
        while let Some(here) = ahead.pop() {
            if here.events() > 1000 {
                return Err((wrong("it never comes to rest"), here.choices()));
            }
            let mut next = Some(Chooser::default());
            while let Some(chooser) = next {
                let mut world = here.clone();
                world.chooser = chooser;
                let step = std::panic::catch_unwind(AssertUnwindSafe(|| world.step()));
                let at_rest =
                    step.unwrap_or_else(|panic| Err(panicked(&*panic))).map_err(|fault| (fault, world.choices()))?;
                next = world.chooser.clone().next();
                explored.events += 1;
                if at_rest {
                    explored.runs += 1;
                } else if seen.insert(world.fingerprint()) {
                    world.turn_over();
                    ahead.push(world);
                }
            }
        }
        explored.states = seen.len();
        Ok(explored)
    }

    #[track_caller]
    fn holds(&self) {
        let began = tokio::time::Instant::now();
        match self.explore() {
            Ok(Explored { states, events, runs }) => {
                let took = began.elapsed();
                println!("{states} states, {events} events, {runs} ways to rest, in {took:.2?}: {self:?}");
            }
            Err((fault, choices)) => {
                let (log, records) = self.replay(&choices);
                panic!("{}\n{self:?}\nchoices {choices:?}:\n{log}\n{records:#?}", fault.0)
            }
        }
    }

    /// Lets happen again what went wrong, and tells it.
    fn replay(&self, choices: &[Vec<u8>]) -> (String, Vec<Record>) {
        let Ok(mut world) = World::new(self, true) else { return Default::default() };
        for choices in choices {
            world.chooser = Chooser::replay(choices);
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| world.step()));
        }
        (world.take_log().join("\n"), world.store.records.to_vec())
    }
}

/// How much there was.
#[derive(Debug, Clone, Copy, Default)]
struct Explored {
    /// Different from each other, and not at rest.
    states: usize,
    /// Tried, each in the state before it.
    events: u64,
    /// How often nothing could happen any more, and what must be so was checked.
    runs: u64,
}

fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    wrong(format!("panicked: {said:?}"))
}

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Whether the mistake is planted in this thread's machines.
pub(super) fn planted(mistake: Planted) -> bool {
    PLANTED.get().is_some_and(|planted| std::mem::discriminant(&planted) == std::mem::discriminant(&mistake))
}
