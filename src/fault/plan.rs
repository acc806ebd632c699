//! What goes wrong with which call.

use crate::fault::config::{Fault, FaultConfig};

/// What goes wrong with the call of this number, counted from 0. Knows nothing but its arguments, so that the same seed
/// gives the same faults again, whatever the calls before it were.
pub(super) fn fault(config: &FaultConfig, seed: u64, number: u64) -> Option<Fault> {
    if let Some(script) = &config.script {
        return usize::try_from(number).ok().and_then(|number| script.get(number).copied().flatten());
    }
    let mut rest = chance(seed, number);
    for (_, share, fault) in config.shares() {
        if rest < share {
            return Some(fault);
        }
        rest -= share;
    }
    None
}

/// From 0 to 1, exclusive.
fn chance(seed: u64, number: u64) -> f64 {
    // Numbers that follow each other must not give seeds that resemble each other (the step of SplitMix64).
    let mixed = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    fastrand::Rng::with_seed(mixed).f64()
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn faults(config: &FaultConfig, seed: u64, calls: u64) -> Vec<Option<Fault>> {
        (0..calls).map(|number| fault(config, seed, number)).collect()
    }

    #[test]
    fn the_shares_are_kept_and_every_kind_occurs() {
        let config = FaultConfig {
            fail: 0.1,
            fail_after: 0.05,
            hang: 0.02,
            drop_reply: 0.03,
            break_body: 0.04,
            delay: 0.2,
            delay_for: Duration::from_secs(1),
            ..FaultConfig::default()
        };
        for seed in [0, 1, 7, u64::MAX] {
            let mut counts = HashMap::new();
            for fault in faults(&config, seed, 100_000) {
                *counts.entry(fault).or_insert(0) += 1;
            }
            for (setting, share, fault) in config.shares() {
                let (counted, expected) = (f64::from(counts[&Some(fault)]), share * 100_000.0);
                // Five standard deviations.
                assert!((counted - expected).abs() < 5.0 * expected.sqrt(), "{setting}, seed {seed}: {counted}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_faults_again_and_another_others() {
        let config = FaultConfig { fail: 0.5, ..FaultConfig::default() };
        assert_eq!(faults(&config, 7, 200), faults(&config, 7, 200));
        assert_ne!(faults(&config, 7, 200), faults(&config, 8, 200));
    }

    #[test]
    fn a_script_is_followed_and_then_nothing_goes_wrong() {
        let script = vec![Some(Fault::Fail), None, Some(Fault::Hang)];
        let config = FaultConfig { script: Some(script.clone()), fail: 1.0, ..FaultConfig::default() };
        assert_eq!(faults(&config, 7, 5), [script, vec![None, None]].concat());
    }

    proptest! {
        #[test]
        fn all_and_nothing_are_just_that(seed in any::<u64>(), number in any::<u64>()) {
            prop_assert_eq!(fault(&FaultConfig::default(), seed, number), None);
            let all = FaultConfig { drop_reply: 1.0, ..FaultConfig::default() };
            prop_assert_eq!(fault(&all, seed, number), Some(Fault::DropReply));
        }
    }
}
