//! What is simulated, and how it is written down.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    run::{Plan, Report, run},
    service::Setup,
    stack::{self, Build, PATIENCE, PATIENCE_IN_ALL},
};

/// A stack with the name it has in tables and pictures.
pub type Named = (&'static str, Build);

/// A sweep: several stacks under several loads.
#[derive(Debug)]
pub struct Sweep {
    /// Of its pictures and rows.
    pub name: &'static str,
    /// What is compared.
    pub stacks: Vec<Named>,
    /// Loads, as multiples of what the service can do.
    pub loads: Vec<f64>,
    /// What happens at such a load.
    pub plan: fn(u64, Build, f64) -> Plan,
}

/// A stack under a load, and what became of it.
#[derive(Debug, Clone)]
pub struct Point {
    /// The stack's name.
    pub stack: &'static str,
    /// The load, as a multiple of what the service can do.
    pub load: f64,
    /// What became of it.
    pub report: Report,
}

/// The sweeps there are.
pub fn sweeps() -> Vec<Sweep> {
    let loads = vec![0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0];
    vec![
        Sweep {
            name: "limits",
            stacks: vec![
                ("no limit", stack::none),
                ("limit of 500, too high", stack::too_high),
                ("limit of 50, well set", stack::well_set),
                ("adaptive, as it comes", stack::correlation),
            ],
            loads: loads.clone(),
            plan: steady,
        },
        Sweep {
            name: "adaptive",
            stacks: vec![
                ("correlation (default)", stack::correlation),
                ("the same, from 500", stack::correlation_from_above),
                ("AIMD", stack::aimd),
                ("Vegas", stack::vegas),
                ("Gradient2", stack::gradient2),
            ],
            loads: loads.clone(),
            plan: steady,
        },
        Sweep {
            name: "queues",
            stacks: vec![
                ("no queue", stack::well_set),
                ("first come, first served", stack::fifo),
                ("adaptive LIFO", stack::adaptive_lifo),
            ],
            loads: loads.clone(),
            plan: steady,
        },
        Sweep {
            name: "retries",
            stacks: retrying(),
            loads: vec![0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0, 1.1, 1.25, 1.5],
            plan: after_a_dip,
        },
    ]
}

fn retrying() -> Vec<Named> {
    vec![
        ("one attempt", stack::once),
        ("three, on a budget", stack::thrice_on_a_budget),
        ("three attempts", stack::thrice),
        ("standard", stack::standard),
    ]
}

/// A load at which there is room, and ten seconds that change that.
pub fn storm() -> Sweep {
    Sweep { name: "storm", stacks: retrying(), loads: vec![STORM_LOAD], plan: after_a_dip }
}

/// The same load for three minutes, of which the last one counts: an adaptive limit moves once a second.
pub fn steady(seed: u64, build: Build, load: f64) -> Plan {
    let service = Setup::default();
    let load = vec![(Duration::from_secs(180), load * service.capacity())];
    Plan { seed, build, service, load, patience: PATIENCE, from: Duration::from_secs(120) }
}

/// When the trigger of a storm comes, and when it has gone.
pub const DIP: (u64, u64) = (30, 40);

/// The same load all the time; for ten seconds the service is ten times slower. What counts is the minute that begins a
/// minute after that.
pub fn after_a_dip(seed: u64, build: Build, load: f64) -> Plan {
    let dip = Some((Duration::from_secs(DIP.0), Duration::from_secs(DIP.1), 10.0));
    let service = Setup { dip, ..Setup::default() };
    let load = vec![(Duration::from_secs(DIP.1 + 120), load * service.capacity())];
    Plan { seed, build, service, load, patience: PATIENCE_IN_ALL, from: Duration::from_secs(DIP.1 + 60) }
}

/// The load of the storm.
pub const STORM_LOAD: f64 = 0.7;

/// Runs all of a sweep, on as many threads as there are processors.
pub fn points(sweep: &Sweep, seed: u64) -> Vec<Point> {
    let jobs: Vec<_> =
        sweep.stacks.iter().flat_map(|stack| sweep.loads.iter().map(move |load| (*stack, *load))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(((stack, build), load)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let report = run(&(sweep.plan)(seed, build, load));
            done.lock().unwrap().push(Point { stack, load, report });
        }
    };
    thread::scope(|scope| {
        (0..thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(work)))
    });
    let mut points = done.into_inner().unwrap();
    let place = |point: &Point| jobs.iter().position(|((stack, _), load)| (*stack, *load) == (point.stack, point.load));
    points.sort_by_key(place);
    points
}

/// The first line of [`csv`].
pub const HEAD: &str = "sweep,stack,load,calls,good,refused,late,goodput,p90_ms,p99_ms,attempts_a_call\n";

/// A line for each point. Where nobody was answered in time, there are no quantiles.
pub fn csv(sweep: &str, points: &[Point]) -> String {
    points.iter().fold(String::new(), |mut text, Point { stack, load, report }| {
        let Report { calls, good, refused, late, goodput, p90, p99, attempts, .. } = report;
        let counts = format!("{calls},{good},{refused},{late}");
        let [p90, p99] = [p90, p99].map(|millis| if millis.is_nan() { String::new() } else { format!("{millis:.0}") });
        writeln!(text, "{sweep},\"{stack}\",{load},{counts},{goodput:.1},{p90},{p99},{attempts:.3}").unwrap();
        text
    })
}

/// A line for each second, a column for each stack.
pub fn storm_csv(storms: &[Point]) -> String {
    let mut text = String::from("second");
    for Point { stack, .. } in storms {
        write!(text, ",\"{stack}\"").unwrap();
    }
    text.push('\n');
    for second in 0..(DIP.1 + 120) as usize {
        write!(text, "{second}").unwrap();
        for storm in storms {
            write!(text, ",{}", storm.report.seconds[second]).unwrap();
        }
        text.push('\n');
    }
    text
}
