//! What a barrier counts for those who watch it from outside.

use std::sync::LazyLock;

use super::stop::Stop;
use crate::{
    meter::{Counter, Histogram, Meter, Metric, Register, Stopwatch, Unsettled, Whose, cancelled},
    name::Name,
    step::Op,
};

const ACTS: Metric = Metric { name: "buttress_barrier_acts_total", help: "Steps that were to be done, by outcome." };
const UNDOS: Metric =
    Metric { name: "buttress_barrier_undos_total", help: "Steps that were to be undone, by outcome." };
const REFUSED: Metric =
    Metric { name: "buttress_barrier_refused_total", help: "Calls that were no step that is done there, by why." };
const CONTENDED: Metric = Metric {
    name: "buttress_barrier_contended_total",
    help: "How often a step began anew because others were in the way in the database.",
};
const WAITED: Metric = Metric {
    name: "buttress_barrier_wait_seconds",
    help: "How long it took until a step had the database's lock and its place in the table.",
};

/// The outcomes of actions, and those of undos: what was done, and the reasons of [`Stop`]s.
const OF_ACTS: [&str; 8] = ["done", "repeated", "refused", "undone", "fenced", "database", "answer", "failed"];
const OF_UNDOS: [&str; 8] = ["done", "repeated", "nothing", "refused", "fenced", "database", "answer", "failed"];

#[derive(Debug)]
pub(super) struct Handles {
    acts: [Counter; 8],
    undos: [Counter; 8],
    pub(super) contended: Counter,
    waited: Histogram,
    cancelled: Counter,
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        let labelled = |metric, outcome| Counter::register(metric, whose, &[("outcome", outcome)]);
        Self {
            acts: OF_ACTS.map(|outcome| labelled(ACTS, outcome)),
            undos: OF_UNDOS.map(|outcome| labelled(UNDOS, outcome)),
            contended: Counter::register(CONTENDED, whose, &[]),
            waited: Histogram::register(WAITED, whose),
            cancelled: cancelled(whose),
        }
    }
}

/// Who a barrier is to those who watch it.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) name: Name,
    meter: Meter<Handles>,
}

/// Seldom enough to be looked up each time.
pub(super) fn refused(name: &Name, reason: &'static str) {
    Counter::register(REFUSED, whose(name), &[("reason", reason)]).increment();
}

fn whose(name: &Name) -> Whose<'_> {
    Whose { policy: "barrier", name }
}

/// What a barrier is called that nobody has named.
const UNNAMED: &str = "barrier";

impl Watch {
    pub(super) fn new(name: Name) -> Self {
        Self { name, meter: Meter::new() }
    }

    pub(super) fn unnamed() -> Self {
        static WATCH: LazyLock<Watch> = LazyLock::new(|| Watch::new(Name::from(UNNAMED)));
        WATCH.clone()
    }

    pub(super) fn get(&self) -> &Handles {
        self.meter.get(whose(&self.name))
    }

    /// The step has its place.
    pub(super) fn waited(&self, since: Stopwatch) {
        self.get().waited.since(since);
    }
}

/// A call that is under way. Dropped before it has ended, it was cancelled.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    pub(super) watch: &'a Watch,
    op: Op,
    did: &'static str,
    unsettled: Unsettled,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(watch: &'a Watch, op: Op) -> Self {
        Self { watch, op, did: "done", unsettled: Unsettled::new() }
    }

    /// It had happened, or had been refused, and its answer is given again.
    pub(super) fn repeats(&mut self) {
        self.did = "repeated";
    }

    /// There is nothing to undo.
    pub(super) fn does_nothing(&mut self) {
        self.did = "nothing";
    }

    pub(super) fn ended(mut self, stop: Option<&Stop>) {
        self.unsettled.settle();
        let handles = self.watch.get();
        let (known, counters) = match self.op {
            Op::Act => (OF_ACTS, &handles.acts),
            Op::Undo => (OF_UNDOS, &handles.undos),
        };
        let outcome = stop.filter(|_| self.did != "repeated").map_or(self.did, Stop::reason);
        if let Some(index) = known.iter().position(|known| *known == outcome) {
            counters[index].increment();
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.unsettled.settle() {
            self.watch.get().cancelled.increment();
        }
    }
}
