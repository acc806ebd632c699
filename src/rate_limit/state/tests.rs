use proptest::prelude::*;

use super::*;

/// The slow and obvious way: a bucket that counts its tokens, in fractions of an `interval`-th.
struct Bucket {
    level: u128,
    pace: Pace,
    now: u64,
}

impl Bucket {
    fn full(pace: Pace) -> Self {
        Self { level: u128::from(pace.tolerance), pace, now: 0 }
    }

    fn advance(&mut self, now: u64) {
        let earned = u128::from(now.saturating_sub(self.now));
        self.level = (self.level + earned).min(u128::from(self.pace.tolerance));
        self.now = self.now.max(now);
    }

    fn take(&mut self, tokens: u32, now: u64) -> Result<(), Short> {
        self.advance(now);
        let cost = u128::from(self.pace.interval) * u128::from(tokens);
        if cost > u128::from(self.pace.tolerance) {
            return Err(Short::Forever);
        }
        if cost > self.level {
            return Err(Short::For((cost - self.level) as u64));
        }
        self.level -= cost;
        Ok(())
    }

    fn change(&mut self, pace: Pace, now: u64) {
        self.advance(now);
        let missing = u128::from(self.pace.tolerance) - self.level;
        let worth = missing * u128::from(pace.interval) / u128::from(self.pace.interval);
        self.level = u128::from(pace.tolerance).saturating_sub(worth);
        self.pace = pace;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Take(u32),
    Change(u64, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..5_000u64).prop_map(Step::Wait),
        6 => (0..12u32).prop_map(Step::Take),
        1 => (1..2_000u64, 1..12u32).prop_map(|(interval, burst)| Step::Change(interval, burst)),
    ]
}

proptest! {
    #[test]
    fn it_is_a_bucket_of_tokens(
        interval in 1..2_000u64,
        burst in 1..12u32,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let pace = Pace::new(interval, burst);
        let (meter, mut bucket) = (Meter::new(pace), Bucket::full(pace));
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(nanos) => now += nanos,
                Step::Take(tokens) => prop_assert_eq!(meter.take(tokens, now), bucket.take(tokens, now)),
                Step::Change(interval, burst) => {
                    meter.change(Pace::new(interval, burst), now);
                    bucket.change(Pace::new(interval, burst), now);
                }
            }
            bucket.advance(now);
            prop_assert_eq!(u128::from(meter.available(now)), bucket.level / u128::from(bucket.pace.interval));
        }
    }

    #[test]
    fn who_waits_as_long_as_it_is_told_gets_through(
        interval in 1..2_000u64,
        burst in 1..12u32,
        calls in prop::collection::vec((0..3_000u64, 1..12u32), 1..100),
    ) {
        let meter = Meter::new(Pace::new(interval, burst));
        let mut now = 0;
        for (pause, tokens) in calls {
            now += pause;
            match meter.take(tokens, now) {
                Ok(()) => {}
                Err(Short::Forever) => prop_assert!(tokens > burst),
                Err(Short::For(short)) => {
                    prop_assert_eq!(meter.wait(tokens.into(), now), short);
                    prop_assert_eq!(meter.take(tokens, now + short - 1), Err(Short::For(1)));
                    now += short;
                    prop_assert_eq!(meter.take(tokens, now), Ok(()));
                }
            }
        }
    }

    #[test]
    fn no_time_and_no_weight_overflows(
        interval in prop_oneof![Just(100u64), 100..u64::MAX / 600],
        now in 0..1u64 << 59,
        tokens in any::<u32>(),
    ) {
        let meter = Meter::new(Pace::new(interval, 1));
        let _ = meter.take(tokens, now);
        let _ = meter.wait(u64::from(tokens) * 1_000_000, now);
        prop_assert!(meter.available(now) <= 1);
    }
}

#[test]
fn a_late_reading_of_the_clock_takes_nothing_away() {
    let meter = Meter::new(Pace::new(10, 2));
    assert_eq!(meter.take(1, 1_000), Ok(()));
    // Another thread had read the clock before, and comes after.
    assert_eq!(meter.take(1, 990), Err(Short::For(10)));
    assert_eq!(meter.take(1, 1_000), Ok(()));
}

#[test]
fn what_was_used_stays_used_when_the_pace_changes() {
    let meter = Meter::new(Pace::new(10, 10));
    meter.take(6, 0).unwrap();
    meter.change(Pace::new(500, 20), 0);
    assert_eq!(meter.available(0), 14);
    meter.change(Pace::new(500, 4), 0);
    assert_eq!((meter.available(0), meter.wait(1, 0)), (0, 500), "no more than all of it");
}

#[test]
fn the_pace_can_be_changed_any_number_of_times() {
    let meter = Meter::new(Pace::new(10, 1_000));
    for change in 1..100 {
        meter.take(1, 0).unwrap();
        meter.change(Pace::new(10 * (change % 3 + 1), 1_000), 0);
        assert_eq!(meter.available(0), 1_000 - change);
    }
}
