//! Charges that fail on purpose, to see that nothing is lost when they do.

use std::sync::{Mutex, PoisonError};

/// What goes wrong with a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bank says no: 402.
    Decline,
    /// 500, and nothing was done.
    FailBefore,
    /// 500, but the charge is booked: the caller must take it back.
    FailAfter,
    /// 503, but the charge is booked: a caller that asks again learns it.
    UnavailableAfter,
}

const MIX: [Fault; 4] = [Fault::Decline, Fault::FailBefore, Fault::FailAfter, Fault::UnavailableAfter];

/// Fails a share of the charges, drawn from a seed so that a run can be had again.
#[derive(Debug)]
pub struct Faults {
    share: f64,
    rng: Mutex<fastrand::Rng>,
}

/// A share that isn't from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct InvalidShare;

impl std::fmt::Display for InvalidShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the share of charges that fail must be from 0 to 1")
    }
}

impl std::error::Error for InvalidShare {}

impl Faults {
    /// Fails `share` of the charges, in equal parts: declined, failed before booking, failed after
    /// booking, unavailable after booking.
    ///
    /// # Errors
    ///
    /// `share` isn't from 0 to 1.
    pub fn new(share: f64, seed: u64) -> Result<Self, InvalidShare> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self { share, rng: Mutex::new(fastrand::Rng::with_seed(seed)) })
        } else {
            Err(InvalidShare)
        }
    }

    /// No charge fails.
    #[must_use]
    pub fn none() -> Self {
        Self { share: 0.0, rng: Mutex::new(fastrand::Rng::with_seed(0)) }
    }

    pub(super) fn draw(&self) -> Option<Fault> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        (rng.f64() < self.share).then(|| MIX[rng.usize(..MIX.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again() {
        let draw = |seed| {
            let faults = Faults::new(0.3, seed).unwrap();
            (0..200).map(|_| faults.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn the_share_is_kept_and_every_kind_occurs() {
        let faults = Faults::new(0.4, 1).unwrap();
        let drawn: Vec<_> = (0..10_000).filter_map(|_| faults.draw()).collect();
        assert!((3_700..4_300).contains(&drawn.len()), "{}", drawn.len());
        assert!(MIX.iter().all(|kind| drawn.contains(kind)));
    }

    #[test]
    fn a_share_beyond_one_is_refused() {
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(Faults::new(share, 0).is_err(), "{share}");
        }
    }
}
