//! Deciding: which calls a breaker that has just closed lets through. No clock, no chance of its own.

use std::time::Duration;

/// The share of calls that is let through at first.
const FIRST: f64 = 0.1;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pass {
    /// The ramp is over: this one goes through, and all that follow.
    Over,
    Admitted,
    Refused {
        retry_after: Duration,
    },
}

/// The share of calls let through `into` a ramp of this length: from a tenth to all, evenly.
pub(super) fn share(into: Duration, over: Duration) -> f64 {
    if into >= over { 1.0 } else { FIRST + (1.0 - FIRST) * into.as_secs_f64() / over.as_secs_f64() }
}

/// What becomes of a call that drew this number, from 0 to below 1.
///
/// A call that is refused is told to come back when the share has grown to the number it drew. So they come back at the
/// pace at which more are let through, and not all at once.
pub(super) fn pass(into: Duration, over: Duration, random: f64) -> Pass {
    if into >= over {
        return Pass::Over;
    }
    if random < share(into, over) {
        return Pass::Admitted;
    }
    let turn = over.mul_f64(((random - FIRST) / (1.0 - FIRST)).clamp(0.0, 1.0));
    Pass::Refused { retry_after: turn.saturating_sub(into) }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OVER: Duration = Duration::from_secs(90);

    #[test]
    fn the_share_grows_evenly_from_a_tenth_to_all() {
        for (seconds, tenths) in [(0, 1.0), (10, 2.0), (50, 6.0), (90, 10.0), (1000, 10.0)] {
            let share = share(Duration::from_secs(seconds), OVER);
            assert!((share * 10.0 - tenths).abs() < 1e-9, "{seconds} s: {share}");
        }
        assert_eq!(pass(OVER, OVER, 0.999), Pass::Over);
        assert_eq!(pass(Duration::ZERO, OVER, 0.0999), Pass::Admitted);
        // In the middle of what is left to draw, so in the middle of the ramp.
        assert_eq!(pass(Duration::ZERO, OVER, 0.55), Pass::Refused { retry_after: Duration::from_secs(45) });
    }

    proptest! {
        #[test]
        fn who_comes_back_when_told_is_let_through(
            into in 0_u64..100_000_000,
            over in 1_000_u64..100_000_000,
            random in 0.0..1.0,
        ) {
            let (into, over) = (Duration::from_micros(into), Duration::from_micros(over));
            if let Pass::Refused { retry_after } = pass(into, over, random) {
                prop_assert!(into + retry_after <= over);
                // The arithmetic is in f64, which is good to far less than a microsecond here.
                let then = into + retry_after + Duration::from_micros(1);
                let again = pass(then, over, random);
                prop_assert!(!matches!(again, Pass::Refused { .. }), "{again:?}");
            }
        }
    }
}
