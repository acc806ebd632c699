//! One run: so much load on a service behind a stack, and what became of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use buttress::{BoxError, Rejection};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::{ServiceExt, util::BoxCloneService};

use crate::{
    service::{Backend, Setup},
    stack::Build,
};

/// What is to be simulated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// What stands before the service.
    pub build: Build,
    /// The service.
    pub service: Setup,
    /// Until when how many calls arrive a second.
    pub load: Vec<(Duration, f64)>,
    /// How long a client waits.
    pub patience: Duration,
    /// From when on the calls count.
    pub from: Duration,
}

/// What became of the calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// How many there were.
    pub calls: u64,
    /// Answered in time.
    pub good: u64,
    /// Refused.
    pub refused: u64,
    /// Not answered in time.
    pub late: u64,
    /// Answers in time a second.
    pub goodput: f64,
    /// What nine in ten and ninety-nine in a hundred answers in time didn't exceed, in milliseconds.
    pub p90: f64,
    /// See `p90`.
    pub p99: f64,
    /// Attempts that reached the service for each call, from the very beginning.
    pub attempts: f64,
    /// For each second from the very beginning, how many answers came in time.
    pub seconds: Vec<u32>,
    /// For each second, how many calls were refused.
    pub refusals: Vec<u32>,
    /// For each second, the bulkhead's limit; empty without one.
    pub limits: Vec<usize>,
}

#[derive(Debug, Default)]
struct Tally {
    report: Report,
    millis: Vec<f64>,
}

/// Simulates.
pub fn run(plan: &Plan) -> Report {
    // The layers draw from the thread's generator.
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime needs nothing").block_on(simulate(plan))
}

async fn simulate(plan: &Plan) -> Report {
    let began = Instant::now();
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let backend = Backend::new(plan.service, random.u64(..));
    let stack = (plan.build)(backend.clone());
    let ends = plan.load.last().map_or(Duration::ZERO, |(until, _)| *until);
    let seconds = (ends + plan.patience).as_secs() as usize + 2;
    let tally = Arc::new(Mutex::new(Tally::default()));
    {
        let report = &mut tally.lock().unwrap().report;
        (report.seconds, report.refusals) = (vec![0; seconds], vec![0; seconds]);
    }
    let mut calls = 0_u64;
    let mut limits = Vec::new();
    let mut at = Duration::ZERO;
    for (until, rate) in &plan.load {
        loop {
            let next = at + Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate.max(1e-9));
            // Arrivals have no memory: at another rate, the wait for the next begins anew.
            at = next.min(*until);
            while let Some(bulkhead) = stack.bulkhead.as_ref().filter(|_| (limits.len() as u64) < at.as_secs()) {
                sleep_until(began + Duration::from_secs(limits.len() as u64 + 1)).await;
                limits.push(bulkhead.snapshot().limit);
            }
            sleep_until(began + at).await;
            if next > *until {
                break;
            }
            calls += 1;
            let client = Client { began, counts: at >= plan.from, patience: plan.patience, tally: tally.clone() };
            tokio::spawn(client.call(stack.service.clone()));
        }
    }
    sleep(plan.patience + Duration::from_millis(10)).await;
    let Tally { mut report, mut millis } = std::mem::take(&mut *tally.lock().unwrap());
    millis.sort_by(f64::total_cmp);
    let quantile = |part: f64| millis.get((millis.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    (report.p90, report.p99) = (quantile(0.9), quantile(0.99));
    report.goodput = report.good as f64 / (ends - plan.from).as_secs_f64();
    report.attempts = backend.taken() as f64 / calls.max(1) as f64;
    report.limits = limits;
    report
}

struct Client {
    began: Instant,
    counts: bool,
    patience: Duration,
    tally: Arc<Mutex<Tally>>,
}

impl Client {
    async fn call(self, service: BoxCloneService<(), (), BoxError>) {
        let begun = Instant::now();
        let answer = timeout(self.patience, service.oneshot(())).await;
        let now = Instant::now();
        let second = (now - self.began).as_secs() as usize;
        let tally = &mut *self.tally.lock().unwrap();
        let report = &mut tally.report;
        let counts = u64::from(self.counts);
        report.calls += counts;
        match answer {
            Ok(Ok(())) => {
                report.seconds[second] += 1;
                report.good += counts;
                if self.counts {
                    tally.millis.push((now - begun).as_secs_f64() * 1e3);
                }
            }
            Ok(Err(error)) if Rejection::find(&error).is_some() => {
                report.refusals[second] += 1;
                report.refused += counts;
            }
            Ok(Err(_)) | Err(_) => report.late += counts,
        }
    }
}
