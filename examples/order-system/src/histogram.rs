//! Latencies in fixed memory, however long it runs.

use std::time::Duration;

/// Steps within each power of two: a quantile is off by at most 1 part in 16.
const STEPS: usize = 16;
/// Microseconds from 1 to 2^36, which is 19 hours.
const POWERS: usize = 36;

#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * POWERS], total: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let power = micros.ilog2() as usize;
        // The bits below the leading one, as sixteenths.
        let step = if power >= 4 {
            (micros >> (power - 4)) as usize - STEPS
        } else {
            ((micros << (4 - power)) as usize) - STEPS
        };
        let last = self.counts.len() - 1;
        self.counts[(power * STEPS + step).min(last)] += 1;
        self.total += 1;
        self.max = self.max.max(took);
    }

    /// The latency that `quantile` of all stay below; zero if there are none.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        let rank = (self.total as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_edge(index).min(self.max);
            }
        }
        Duration::ZERO
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// What was recorded after `earlier`, an older state of this one.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, before)| now - before).collect();
        Self { counts, total: self.total - earlier.total, max: self.max }
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }
}

fn upper_edge(index: usize) -> Duration {
    let (power, step) = (index / STEPS, index % STEPS);
    let sixteenths = (1_u64 << power) * (STEPS + step + 1) as u64;
    Duration::from_micros(sixteenths / STEPS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let mut histogram = Histogram::default();
        for micros in 1..=100_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, exact) in [(0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0)] {
            let found = histogram.quantile(quantile).as_micros() as f64;
            assert!((exact..=exact * 1.07).contains(&found), "{quantile}: {found}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(100));
    }

    #[test]
    fn extremes_do_not_panic() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.quantile(1.0), upper_edge(STEPS * POWERS - 1));
    }
}
