//! Averages, medians and correlations over the last few windows. Of fixed size, so that nothing allocates.

/// An average over about `size` values, the newest counting most; a plain average until it has `WARM_UP` of them.
#[derive(Debug, Clone)]
pub(super) struct Average {
    factor: f64,
    seen: u32,
    value: f64,
}

impl Average {
    const WARM_UP: u32 = 10;

    pub(super) fn over(size: u32) -> Self {
        Self { factor: 2.0 / (f64::from(size) + 1.0), seen: 0, value: 0.0 }
    }

    pub(super) fn add(&mut self, value: f64) -> f64 {
        self.seen = self.seen.saturating_add(1);
        let factor = if self.seen <= Self::WARM_UP { 1.0 / f64::from(self.seen) } else { self.factor };
        self.value += (value - self.value) * factor;
        self.value
    }

    /// After a long overload the average is far above what is usual by now, and takes its time to come down.
    pub(super) fn lower(&mut self, factor: f64) -> f64 {
        self.value *= factor;
        self.value
    }
}

/// The median of the last five values: one window with a hiccup doesn't move it.
#[derive(Debug, Clone, Default)]
pub(super) struct Median {
    last: [f64; 5],
    seen: usize,
}

impl Median {
    pub(super) fn add(&mut self, value: f64) -> f64 {
        self.last[self.seen % 5] = value;
        self.seen += 1;
        let mut sorted = self.last;
        let sorted = &mut sorted[..self.seen.min(5)];
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// The last `N` pairs of values, and how the one follows the other.
#[derive(Debug, Clone)]
pub(super) struct Pairs<const N: usize> {
    pairs: [(f64, f64); N],
    seen: usize,
}

/// How two values go together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Together {
    /// The coefficient of correlation.
    pub(super) correlation: f64,
    /// How much the second varies, relative to its mean.
    pub(super) variation: f64,
}

impl<const N: usize> Pairs<N> {
    /// Less variation is noise. failsafe-go takes a percent, which at high limits is more than a few steps make.
    const LEAST_VARIATION: f64 = 0.003;

    pub(super) fn new() -> Self {
        Self { pairs: [(0.0, 0.0); N], seen: 0 }
    }

    /// Adds a pair, and tells how all that it has go together; nothing until there are a few, or if one of them doesn't
    /// move.
    pub(super) fn add(&mut self, x: f64, y: f64) -> Option<Together> {
        self.pairs[self.seen % N] = (x, y);
        self.seen += 1;
        // Summed up anew each time: running sums of squares drift, and this happens once a window.
        let pairs = &self.pairs[..self.seen.min(N)];
        if pairs.len() < 10 {
            return None;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        let (mean_x, mean_y) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for (x, y) in pairs {
            xx += (x - mean_x) * (x - mean_x);
            yy += (y - mean_y) * (y - mean_y);
            xy += (x - mean_x) * (y - mean_y);
        }
        let variation = |squares: f64, mean: f64| (squares / pairs.len() as f64).sqrt() / mean.abs();
        let moves = |variation: f64| variation.is_finite() && variation >= Self::LEAST_VARIATION;
        let varies = variation(yy, mean_y);
        if !moves(variation(xx, mean_x)) {
            return None;
        }
        let correlation = if moves(varies) { xy / (xx * yy).sqrt() } else { 0.0 };
        Some(Together { correlation, variation: varies })
    }
}

/// The step by which limits move: one up to ten calls, two for a hundred, three for a thousand.
pub(super) fn step(limit: f64) -> f64 {
    limit.log10().max(1.0)
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_average_follows_and_begins_plainly() {
        let mut average = Average::over(60);
        assert_eq!([10.0, 20.0, 30.0].map(|value| average.add(value)), [10.0, 15.0, 20.0]);
        for _ in 0..500 {
            average.add(100.0);
        }
        assert!((average.add(100.0) - 100.0).abs() < 0.1);
    }

    #[test]
    fn a_median_ignores_a_hiccup() {
        let mut median = Median::default();
        assert_eq!([1.0, 1.0, 50.0, 1.0, 2.0].map(|value| median.add(value)), [1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!([9.0, 9.0, 9.0].map(|value| median.add(value)).last(), Some(&9.0));
    }

    #[test]
    fn pairs_tell_whether_one_follows_the_other() {
        let told = |y: fn(f64) -> f64| {
            let mut pairs = Pairs::<20>::new();
            (1..=30).filter_map(|x| pairs.add(f64::from(x), y(f64::from(x)))).last().unwrap()
        };
        assert!((told(|x| 3.0 * x).correlation - 1.0).abs() < 1e-9);
        assert!((told(|x| 100.0 - x).correlation + 1.0).abs() < 1e-9);
        assert_eq!(told(|_| 7.0), Together { correlation: 0.0, variation: 0.0 });
        let mut still = Pairs::<20>::new();
        assert_eq!((0..30).filter_map(|y| still.add(5.0, f64::from(y))).count(), 0, "nothing moves, nothing follows");
    }
}
