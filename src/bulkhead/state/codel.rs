//! Whether a queue is one that passes or one that stands.

use std::time::Duration;

use tokio::time::Instant;

/// Controlled delay, as folly has it (`Codel.cpp`; "Fail at Scale", ACM Queue 2015; after Nichols and Jacobson): a queue
/// whose *shortest* delay in an interval is above the target is a standing one, which no longer evens out bursts but only
/// makes everybody wait. While it stands, who has waited for more than twice the target is let go.
///
/// The delay is that of who has waited longest. folly takes that of who comes out of the queue, which is the same as long
/// as the oldest comes out first, and says nothing once the newest does.
#[derive(Debug)]
pub(super) struct Codel {
    target: Duration,
    interval: Duration,
    /// When the present interval is over.
    over: Option<Instant>,
    shortest: Duration,
    stands: bool,
}

impl Codel {
    pub(super) fn new(target: Duration, interval: Duration) -> Self {
        Self { target, interval, over: None, shortest: Duration::ZERO, stands: false }
    }

    /// Somebody comes or goes, and who has waited longest has waited for so long; zero if nobody waits.
    pub(super) fn observe(&mut self, delay: Duration, now: Instant) {
        match self.over {
            Some(over) if now < over => self.shortest = self.shortest.min(delay),
            over => {
                // What was seen before an interval in which nobody came or went is of no use any more.
                let lately = over.is_some_and(|over| now < over + self.interval);
                self.stands = lately && self.shortest > self.target;
                self.over = Some(now + self.interval);
                self.shortest = delay;
            }
        }
    }

    /// Whether the queue stands.
    pub(super) fn stands(&self) -> bool {
        self.stands
    }

    /// Who has waited for longer is let go.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.stands.then_some(2 * self.target)
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn codel() -> Codel {
        Codel::new(5 * MS, 100 * MS)
    }

    #[test]
    fn a_queue_that_is_above_the_target_for_an_interval_stands() {
        let (mut codel, now) = (codel(), Instant::now());
        for at in 0..20 {
            codel.observe(6 * MS, now + 5 * at * MS);
            assert_eq!(codel.longest(), None);
        }
        codel.observe(6 * MS, now + 100 * MS);
        assert_eq!(codel.longest(), Some(10 * MS));
    }

    #[test]
    fn a_burst_that_is_gone_within_the_interval_is_no_standing_queue() {
        let (mut codel, now) = (codel(), Instant::now());
        for at in 0..100 {
            // High, and once in each interval low.
            codel.observe(if at % 10 == 3 { 4 * MS } else { 80 * MS }, now + 10 * at * MS);
            assert!(!codel.stands(), "{at}");
        }
    }

    #[test]
    fn a_queue_that_was_empty_once_stands_no_longer_when_the_interval_is_over() {
        let (mut codel, now) = (codel(), Instant::now());
        codel.observe(50 * MS, now);
        codel.observe(50 * MS, now + 100 * MS);
        assert!(codel.stands());
        // Not at once: it may be empty because all who waited were let go.
        codel.observe(Duration::ZERO, now + 101 * MS);
        assert!(codel.stands());
        codel.observe(50 * MS, now + 200 * MS);
        assert!(!codel.stands());
    }

    #[test]
    fn what_was_seen_long_ago_is_no_standing_queue() {
        let (mut codel, now) = (codel(), Instant::now());
        codel.observe(50 * MS, now);
        codel.observe(50 * MS, now + 5_000 * MS);
        assert!(!codel.stands());
    }
}
