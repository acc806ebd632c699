//! Who wins, and whether another is sent: decided by what the attempts' answers say.
//!
//! gRPC proposal A6, "Hedging Policy", for all protocols: an answer that is good, or fails in a way that another attempt
//! wouldn't mend, ends the race. A failure that another may mend lets the next attempt go at once; the last to fail is
//! handed on.

use std::time::Duration;

use crate::{
    budget::Cost,
    repeat::verdict::{Ask, Verdict},
};

/// The attempts of one call, the first included.
#[derive(Debug)]
pub(super) struct Race {
    /// How many there may still be.
    left: u32,
    running: u32,
    /// One that has ended may have been carried out.
    maybe_sent: bool,
}

/// What is done about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is the call's answer; the others are dropped.
    HandOn,
    /// As [`HandOn`](Self::HandOn), and it tells only of the last attempt that nothing was sent.
    HandOnSentBefore,
    /// Another attempt may be the call's answer; the next one goes when it is due.
    Wait,
    /// The next attempt goes now.
    Hedge,
    /// The next attempt goes after exactly this.
    HedgeIn(Duration),
    /// The next attempt goes when it is due, and not before this.
    HedgeNotBefore(Duration),
}

impl Race {
    /// The first attempt is running, and there may be so many more.
    pub(super) fn new(hedges: u32) -> Self {
        Self { left: hedges, running: 1, maybe_sent: false }
    }

    pub(super) fn may_hedge(&self) -> bool {
        self.left > 0
    }

    pub(super) fn is_alone(&self) -> bool {
        self.running == 0
    }

    /// There is another attempt.
    pub(super) fn hedge(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.running += 1;
    }

    /// There will be no other attempt: nothing pays for it, or it can't be made.
    pub(super) fn stop(&mut self) {
        self.left = 0;
    }

    /// What to do about an attempt's answer.
    pub(super) fn ended(&mut self, verdict: &Verdict) -> Next {
        self.running -= 1;
        match verdict {
            Verdict::Success | Verdict::Final => Next::HandOn,
            Verdict::Refused { by_server } => {
                // Whoever refuses this one will refuse the next.
                self.stop();
                if !self.is_alone() {
                    self.maybe_sent |= by_server;
                    Next::Wait
                } else if self.maybe_sent && !by_server {
                    Next::HandOnSentBefore
                } else {
                    Next::HandOn
                }
            }
            Verdict::Failed(failure) => {
                self.maybe_sent |= failure.sent;
                match (self.may_hedge(), self.is_alone(), failure.ask, failure.cost) {
                    (false, true, ..) => Next::HandOn,
                    (false, false, ..) => Next::Wait,
                    (true, _, Some(Ask::Exactly(wait)), _) => Next::HedgeIn(wait),
                    // To wait for a better time is a retry's business; a hedge is there for the sake of time.
                    (true, true, Some(Ask::About(_)), _) | (true, true, None, Cost::Throttled) => Next::HandOn,
                    (true, false, Some(Ask::About(wait)), _) => Next::HedgeNotBefore(wait),
                    // A server that has too much to do isn't hurried.
                    (true, false, None, Cost::Throttled) => Next::Wait,
                    (true, _, None, Cost::Transient) => Next::Hedge,
                }
            }
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repeat::verdict::Failure;

    const FAILED: Failure = Failure { cost: Cost::Transient, ask: None, sent: true };
    const SECOND: Duration = Duration::from_secs(1);

    fn failed() -> Verdict {
        Verdict::Failed(FAILED)
    }

    fn asking(ask: Ask) -> Verdict {
        Verdict::Failed(Failure { ask: Some(ask), ..FAILED })
    }

    #[test]
    fn a_failure_lets_the_next_go_at_once_and_the_last_is_handed_on() {
        let mut race = Race::new(1);
        assert_eq!(race.ended(&failed()), Next::Hedge);
        race.hedge();
        assert_eq!(race.ended(&failed()), Next::HandOn);
    }

    #[test]
    fn a_failure_waits_for_the_other() {
        let mut race = Race::new(1);
        race.hedge();
        assert_eq!(race.ended(&failed()), Next::Wait);
        assert_eq!(race.ended(&Verdict::Success), Next::HandOn);
    }

    #[test]
    fn what_another_would_not_mend_is_handed_on_at_once() {
        let mut race = Race::new(3);
        race.hedge();
        assert_eq!(race.ended(&Verdict::Final), Next::HandOn);
    }

    #[test]
    fn a_pushback_sets_the_time_of_the_next() {
        assert_eq!(Race::new(1).ended(&asking(Ask::Exactly(SECOND))), Next::HedgeIn(SECOND));
        assert_eq!(Race::new(1).ended(&asking(Ask::About(SECOND))), Next::HandOn);
        let mut race = Race::new(2);
        race.hedge();
        assert_eq!(race.ended(&asking(Ask::About(SECOND))), Next::HedgeNotBefore(SECOND));
    }

    #[test]
    fn a_refusal_is_handed_on_as_one_only_if_nothing_was_sent() {
        let refused = Verdict::Refused { by_server: false };
        assert_eq!(Race::new(1).ended(&refused), Next::HandOn);
        let mut race = Race::new(3);
        race.hedge();
        assert_eq!(race.ended(&failed()), Next::Hedge);
        race.hedge();
        assert_eq!(race.ended(&refused), Next::Wait);
        assert!(!race.may_hedge());
        assert_eq!(race.ended(&refused), Next::HandOnSentBefore);
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        let ask = prop_oneof![
            4 => Just(None),
            1 => Just(Some(Ask::About(SECOND))),
            1 => Just(Some(Ask::Exactly(SECOND))),
        ];
        let cost = prop_oneof![Just(Cost::Transient), Just(Cost::Throttled)];
        prop_oneof![
            1 => Just(Verdict::Success),
            1 => Just(Verdict::Final),
            2 => any::<bool>().prop_map(|by_server| Verdict::Refused { by_server }),
            6 => (cost, ask, any::<bool>())
                .prop_map(|(cost, ask, sent)| Verdict::Failed(Failure { cost, ask, sent })),
        ]
    }

    proptest! {
        #[test]
        fn every_race_ends_with_one_answer_and_no_more_attempts_than_there_may_be(
            hedges in 0_u32..5,
            due in proptest::collection::vec(any::<bool>(), 20),
            verdicts in proptest::collection::vec(any_verdict(), 20),
        ) {
            let mut race = Race::new(hedges);
            let (mut attempts, mut running) = (1, 1);
            let mut sent = false;
            let mut verdicts = verdicts.iter();
            for due in due.iter().chain([&false; 20]) {
                if *due && race.may_hedge() {
                    race.hedge();
                    (attempts, running) = (attempts + 1, running + 1);
                }
                let Some(verdict) = verdicts.next() else { break };
                let next = race.ended(verdict);
                running -= 1;
                match next {
                    Next::HandOn | Next::HandOnSentBefore => {
                        let good = matches!(verdict, Verdict::Success | Verdict::Final);
                        prop_assert!(good || running == 0, "a failure is handed on only if there is nothing better");
                        let refusal = matches!(verdict, Verdict::Refused { by_server: false });
                        prop_assert_eq!(next == Next::HandOnSentBefore, refusal && sent);
                        break;
                    }
                    Next::Hedge | Next::HedgeIn(_) => {
                        prop_assert!(race.may_hedge());
                        race.hedge();
                        (attempts, running) = (attempts + 1, running + 1);
                    }
                    Next::Wait | Next::HedgeNotBefore(_) => prop_assert!(running > 0, "waits for nothing"),
                }
                sent |= match verdict {
                    Verdict::Failed(failure) => failure.sent,
                    Verdict::Refused { by_server } => *by_server,
                    _ => false,
                };
                prop_assert!(running > 0);
            }
            prop_assert!(attempts <= 1 + hedges);
        }
    }
}
