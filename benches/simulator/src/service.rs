//! A service with so many workers and a queue without an end.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use buttress::BoxError;
use tokio::time::{Instant, sleep_until};
use tower::Service;

/// How long the work of a call takes.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// Always the same.
    Constant,
    /// Exponentially distributed.
    Exponential,
    /// Lognormally, with this deviation of the logarithm: a long tail from 1 on.
    Lognormal(f64),
}

/// What a service can do.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// How many calls it works at, at once.
    pub workers: usize,
    /// How long the work of a call takes, on average.
    pub mean: Duration,
    /// How that is distributed.
    pub work: Work,
    /// By which part a call's work takes longer when as many wait as there are workers: 0.1 is a tenth. The penalty
    /// grows with the queue, up to four times as many. 0 is no slow-down.
    pub slowdown: f64,
    /// From when to when everything takes so many times as long.
    pub dip: Option<(Duration, Duration, f64)>,
}

impl Default for Setup {
    /// Forty workers, 100 ms of work: 400 calls a second.
    fn default() -> Self {
        let mean = Duration::from_millis(100);
        Self { workers: 40, mean, work: Work::Exponential, slowdown: 0.0, dip: None }
    }
}

impl Setup {
    /// Calls a second, at its best.
    pub fn capacity(&self) -> f64 {
        self.workers as f64 / self.mean.as_secs_f64()
    }
}

/// The service. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Backend(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    setup: Setup,
    random: fastrand::Rng,
    born: Instant,
    /// When each worker is done with what is before it.
    free: BinaryHeap<Reverse<Instant>>,
    /// When each call that is inside is done.
    done: BinaryHeap<Reverse<Instant>>,
    taken: u64,
}

impl Backend {
    /// One that has nothing to do yet.
    pub fn new(setup: Setup, seed: u64) -> Self {
        let born = Instant::now();
        let free = (0..setup.workers).map(|_| Reverse(born)).collect();
        let random = fastrand::Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(Inside { setup, random, born, free, done: BinaryHeap::new(), taken: 0 })))
    }

    /// How many calls it was sent so far, retries included.
    pub fn taken(&self) -> u64 {
        self.0.lock().unwrap().taken
    }
}

impl Inside {
    /// Takes a call, and tells when it will be done. First come, first served, so that is known at once.
    fn take(&mut self, now: Instant) -> Instant {
        self.taken += 1;
        while self.done.peek().is_some_and(|done| done.0 <= now) {
            self.done.pop();
        }
        let begin = self.free.pop().expect("there is a worker").0.max(now);
        let done = begin + self.setup.mean.mul_f64(self.draw() * self.slowness(begin - self.born));
        self.free.push(Reverse(done));
        self.done.push(Reverse(done));
        done
    }

    fn draw(&mut self) -> f64 {
        // Never the logarithm of zero.
        let mut uniform = || 1.0 - self.random.f64();
        match self.setup.work {
            Work::Constant => 1.0,
            Work::Exponential => -uniform().ln(),
            Work::Lognormal(sigma) => {
                let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                (sigma * normal - sigma * sigma / 2.0).exp()
            }
        }
    }

    fn slowness(&self, at: Duration) -> f64 {
        let workers = self.setup.workers as f64;
        let waiting = ((self.done.len() as f64 - workers) / workers).clamp(0.0, 4.0);
        let dip = self.setup.dip.filter(|(from, until, _)| (*from..*until).contains(&at));
        (1.0 + self.setup.slowdown * waiting) * dip.map_or(1.0, |(_, _, factor)| factor)
    }
}

impl Service<()> for Backend {
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// Who drops the future isn't answered. The work is done all the same.
    fn call(&mut self, (): ()) -> Self::Future {
        let done = self.0.lock().unwrap().take(Instant::now());
        Box::pin(async move {
            sleep_until(done).await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(inside: &mut Inside, calls: usize) -> Vec<u128> {
        (0..calls).map(|_| (inside.take(inside.born) - inside.born).as_millis()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_a_worker_first_come_first_served() {
        let setup = Setup { workers: 2, work: Work::Constant, ..Setup::default() };
        let backend = Backend::new(setup, 1);
        assert_eq!(millis(&mut backend.0.lock().unwrap(), 5), [100, 100, 200, 200, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn work_takes_as_long_as_it_should_on_average() {
        for work in [Work::Constant, Work::Exponential, Work::Lognormal(1.0)] {
            let backend = Backend::new(Setup { work, ..Setup::default() }, 1);
            let mut inside = backend.0.lock().unwrap();
            let mean = (0..20_000).map(|_| inside.draw()).sum::<f64>() / 20_000.0;
            assert!((0.97..1.03).contains(&mean), "{work:?}: {mean}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everything_takes_longer_in_a_dip() {
        let dip = Some((Duration::from_millis(150), Duration::from_millis(350), 2.0));
        let backend = Backend::new(Setup { workers: 1, work: Work::Constant, dip, ..Setup::default() }, 1);
        assert_eq!(millis(&mut backend.0.lock().unwrap(), 5), [100, 200, 400, 500, 600]);
    }
}
