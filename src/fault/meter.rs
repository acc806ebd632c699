//! What a fault layer counts for those who watch it from outside.

use super::config::Fault;
use crate::meter::{Counter, Metric, Register, Whose};

const CALLS: Metric =
    Metric { name: "buttress_fault_calls_total", help: "Calls with which something could have gone wrong." };
const INJECTED: Metric = Metric { name: "buttress_fault_injected_total", help: "What went wrong, injected, by kind." };

#[derive(Debug)]
pub(super) struct Handles {
    pub(super) calls: Counter,
    delay: Counter,
    fail: Counter,
    fail_after: Counter,
    hang: Counter,
    drop_reply: Counter,
    break_body: Counter,
}

impl Handles {
    pub(super) fn injected(&self, fault: Fault) {
        match fault {
            Fault::Delay(_) => &self.delay,
            Fault::Fail => &self.fail,
            Fault::FailAfter => &self.fail_after,
            Fault::Hang => &self.hang,
            Fault::DropReply => &self.drop_reply,
            Fault::BreakBody => &self.break_body,
        }
        .increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        let of_kind = |fault: Fault| Counter::register(INJECTED, whose, &[("fault", fault.as_str())]);
        Self {
            calls: Counter::register(CALLS, whose, &[]),
            delay: of_kind(Fault::Delay(std::time::Duration::ZERO)),
            fail: of_kind(Fault::Fail),
            fail_after: of_kind(Fault::FailAfter),
            hang: of_kind(Fault::Hang),
            drop_reply: of_kind(Fault::DropReply),
            break_body: of_kind(Fault::BreakBody),
        }
    }
}
