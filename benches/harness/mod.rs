//! Times candidates against each other in one run.

use std::{
    fmt::Display,
    future::Future,
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Waker},
    thread,
    time::Duration,
};

use tokio::time::Instant;
use tower::Service;

/// Something to be called over and over.
pub(crate) trait Candidate: Clone + Send + 'static {
    fn call_once(&mut self, number: u64);

    /// Brings it into the state that is to be timed, before each round. Not timed itself.
    fn prepare(&mut self) {}
}

impl<S> Candidate for S
where
    S: Service<u64> + Clone + Send + 'static,
{
    #[inline]
    fn call_once(&mut self, number: u64) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(self.poll_ready(&mut cx).is_ready(), "nothing here waits");
        let answer = pin!(self.call(black_box(number))).poll(&mut cx);
        assert!(answer.is_ready(), "nothing here waits");
        black_box(&answer);
    }
}

/// A policy used without tower.
#[derive(Clone)]
pub(crate) struct Direct<F>(pub(crate) F);

impl<F> Candidate for Direct<F>
where
    F: Fn() -> bool + Clone + Send + 'static,
{
    #[inline]
    fn call_once(&mut self, _number: u64) {
        black_box((self.0)());
    }
}

/// How long `calls` calls take.
fn time(candidate: &mut impl Candidate, calls: u64) -> Duration {
    let started = Instant::now();
    (0..calls).for_each(|number| candidate.call_once(number));
    started.elapsed()
}

/// How long two threads that share the candidate take for `calls` calls each, from the first start to the last end: if
/// they don't get a core each, it takes them twice as long, and can be seen from the no-op service.
fn time_two(candidate: &impl Candidate, calls: u64) -> Duration {
    let waiting = AtomicU32::new(2);
    let runtime = tokio::runtime::Handle::current();
    let work = |mut clone| {
        let _entered = runtime.enter();
        // Not a barrier: to be woken takes longer than many a call.
        waiting.fetch_sub(1, Ordering::AcqRel);
        while waiting.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        let started = Instant::now();
        time(&mut clone, calls);
        (started, Instant::now())
    };
    let (one, other) = (candidate.clone(), candidate.clone());
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| work(other));
        (work(one), other.join().expect("candidates don't panic"))
    });
    one.1.max(other.1) - one.0.min(other.0)
}

// ===== the bench =====

const ROUNDS: usize = 201;
/// Short against what the scheduler gives a thread at a time, so that on a busy machine too most rounds aren't interrupted;
/// long against reading a clock.
const SLICE: Duration = Duration::from_micros(500);
const WARM_UP: u64 = 2_000;
const WARM_UP_AT_MOST: Duration = Duration::from_millis(100);
/// A round of what is slow has so many calls.
const FEWEST: u64 = 10;

pub(crate) struct Bench {
    /// Only candidates with this in their name, or in their group's.
    filter: String,
    /// For a machine to read.
    csv: bool,
    lines: Vec<Line>,
}

enum Line {
    Group(&'static str),
    Entry(Entry),
}

struct Entry {
    name: &'static str,
    /// What the others of the group are held against.
    is_reference: bool,
    calls: u64,
    allocations: f64,
    one: Column,
    two: Column,
}

/// How something is timed, and what came of it.
struct Column {
    time: Box<dyn FnMut(u64) -> Duration>,
    nanos: Vec<f64>,
}

impl Bench {
    /// Cargo passes flags of its own; the first word that isn't one is the filter.
    pub(crate) fn from_args() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let csv = args.iter().any(|arg| arg == "--csv");
        let filter = args.into_iter().find(|arg| !arg.starts_with('-')).unwrap_or_default();
        Self { filter, csv, lines: Vec::new() }
    }

    /// Opens a group; its first entry is usually the reference.
    pub(crate) fn group(&mut self, name: &'static str) {
        // What shares a line of the cache with what is chance, and decides what two threads cost each other: it is to
        // differ from run to run, so that a few of them show it.
        let shift = (std::process::id() as usize + self.lines.len()) % 4;
        std::mem::forget(black_box(vec![0_u8; 2048 + 16 * shift]));
        self.lines.push(Line::Group(name));
    }

    pub(crate) fn reference(&mut self, name: &'static str, candidate: impl Candidate) {
        self.add(name, true, candidate);
    }

    pub(crate) fn candidate(&mut self, name: &'static str, candidate: impl Candidate) {
        self.add(name, false, candidate);
    }

    fn add(&mut self, name: &'static str, is_reference: bool, mut candidate: impl Candidate) {
        if !is_reference && !self.is_wanted(name) {
            return;
        }
        candidate.prepare();
        let few = time(&mut candidate, FEWEST).max(Duration::from_nanos(1));
        // What takes a millisecond isn't called thousands of times to be counted.
        let warm_up = (WARM_UP_AT_MOST.as_nanos() * u128::from(FEWEST) / few.as_nanos()).min(WARM_UP.into()) as u64;
        let warm_up = warm_up.max(FEWEST);
        let took = time(&mut candidate, warm_up).max(Duration::from_nanos(1));
        let calls = (SLICE.as_nanos() * u128::from(warm_up) / took.as_nanos()).clamp(FEWEST.into(), 1_000_000) as u64;
        let counted = allocation_counter::measure(|| {
            time(&mut candidate, warm_up);
        });
        let mut shared = candidate.clone();
        self.lines.push(Line::Entry(Entry {
            name,
            is_reference,
            calls,
            allocations: counted.count_total as f64 / warm_up as f64,
            one: Column::new(move |calls| {
                candidate.prepare();
                time(&mut candidate, calls)
            }),
            two: Column::new(move |calls| {
                shared.prepare();
                time_two(&shared, calls)
            }),
        }));
    }

    fn is_wanted(&self, name: &str) -> bool {
        let group = self.lines.iter().rev().find_map(|line| match line {
            Line::Group(group) => Some(*group),
            Line::Entry(_) => None,
        });
        name.contains(&self.filter) || group.is_some_and(|group| group.contains(&self.filter))
    }

    pub(crate) fn run(mut self) {
        for _ in 0..ROUNDS {
            for line in &mut self.lines {
                if let Line::Entry(entry) = line {
                    entry.one.round(entry.calls);
                    entry.two.round(entry.calls);
                }
            }
        }
        self.print();
    }

    fn print(&self) {
        if self.csv {
            println!("row,candidate,ns_one_thread,ratio_one_thread,ns_two_threads,ratio_two_threads,allocations");
        } else {
            println!("\nThe median of {ROUNDS} rounds. Ratio: to the first of each group; below 1 is faster.\n");
            print_row("", ["one", "thread", "two", "threads", "allocations"]);
            print_row("", ["ns/call", "ratio", "ns/call", "ratio", "per call"]);
        }
        let mut group = "";
        let mut reference = None;
        for line in &self.lines {
            match line {
                Line::Group(name) => {
                    if !self.csv {
                        println!("\n{name}");
                    }
                    (group, reference) = (name, None);
                }
                Line::Entry(entry) => {
                    let figures = (entry.one.median(), entry.two.median());
                    if entry.is_reference {
                        reference = Some(figures);
                    }
                    let (one, two) = reference.unwrap_or((f64::NAN, f64::NAN));
                    let cells = [
                        format!("{:.1}", figures.0),
                        format!("{:.2}", figures.0 / one),
                        format!("{:.1}", figures.1),
                        format!("{:.2}", figures.1 / two),
                        format!("{:.2}", entry.allocations),
                    ];
                    if self.csv {
                        println!("\"{group}\",\"{}\",{}", entry.name, cells.join(","));
                    } else {
                        print_row(entry.name, cells);
                    }
                }
            }
        }
    }
}

impl Column {
    fn new(time: impl FnMut(u64) -> Duration + 'static) -> Self {
        Self { time: Box::new(time), nanos: Vec::with_capacity(ROUNDS) }
    }

    fn round(&mut self, calls: u64) {
        self.nanos.push((self.time)(calls).as_nanos() as f64 / calls as f64);
    }

    fn median(&self) -> f64 {
        let mut nanos = self.nanos.clone();
        nanos.sort_by(f64::total_cmp);
        nanos[nanos.len() / 2]
    }
}

fn print_row(name: &str, cells: [impl Display; 5]) {
    let [one, one_ratio, two, two_ratio, allocations] = cells;
    println!("  {name:<46}{one:>12}{one_ratio:>10}{two:>12}{two_ratio:>10}{allocations:>14}");
}
