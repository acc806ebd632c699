//! Prints what became of every stack under every load, and draws it. `--draw` also writes the pictures to `docs/img`,
//! `--seed n` takes another seed. See the crate.

use std::{env, fs, path::PathBuf};

use simulator::{
    chart::{Panel, Picture},
    scenario::{self, Point, Sweep},
    service::Setup,
};

const SEED: u64 = 1;

fn main() {
    let args: Vec<String> = env::args().collect();
    let seed = args
        .iter()
        .position(|arg| arg == "--seed")
        .map_or(SEED, |at| args.get(at + 1).and_then(|seed| seed.parse().ok()).expect("--seed needs a number"));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join(if args.iter().any(|arg| arg == "--draw") { "docs/img" } else { "target/simulator" });
    fs::create_dir_all(&folder).expect("a folder for the pictures can be made");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a picture can be written");

    println!("seed {seed}; the service can do {} calls a second", Setup::default().capacity());
    let mut csv = String::from(scenario::HEAD);
    for sweep in scenario::sweeps() {
        let points = scenario::points(&sweep, seed);
        table(&sweep, &points);
        csv += &scenario::csv(sweep.name, &points);
        write(&format!("overload-{}.svg", sweep.name), &picture(&sweep, &points).svg());
    }
    write("overload.csv", &csv);
    let storms = scenario::points(&scenario::storm(), seed);
    write("overload-storm.csv", &scenario::storm_csv(&storms));
    write("overload-storm.svg", &storm_picture(&storms).svg());
    println!("\npictures and figures are in {}", folder.canonicalize().unwrap_or(folder).display());
}

/// Goodput and p99, as a part of the capacity and in milliseconds.
fn table(sweep: &Sweep, points: &[Point]) {
    println!("\n{}: goodput in % of the capacity, and p99 in ms, at a load of", sweep.name);
    let cells = |cell: &dyn Fn(&f64) -> String| sweep.loads.iter().map(cell).collect::<String>();
    println!("{:26}{}", "", cells(&|load| format!("{load:>11}")));
    for (stack, _) in &sweep.stacks {
        let of = |load: &f64| {
            let report = &points.iter().find(|point| point.stack == *stack && point.load == *load).unwrap().report;
            let p99 = if report.p99.is_nan() { "-".into() } else { format!("{:.0}", report.p99) };
            format!("{:>6.1} {p99:>4}", 100.0 * report.goodput / Setup::default().capacity())
        };
        println!("{stack:26}{}", cells(&of));
    }
}

fn picture(sweep: &Sweep, points: &[Point]) -> Picture {
    let capacity = Setup::default().capacity();
    let lines = |value: &dyn Fn(&Point) -> f64| {
        let line =
            |name| points.iter().filter(move |point| point.stack == name).map(|point| (point.load, value(point)));
        sweep.stacks.iter().map(|(name, _)| line(*name).collect()).collect()
    };
    let retries = sweep.name == "retries";
    let patience = if retries { 3000.0 } else { 1000.0 };
    let panel = |title: &str, y_axis, unit, lines| Panel {
        title: title.into(),
        x: "load, as a multiple of what the service can do".into(),
        x_axis: if retries { [0.0, 1.5, 0.25] } else { [0.5, 3.0, 0.5] },
        y_axis,
        unit,
        band: None,
        lines,
    };
    // A point of next to no answers has no quantile to speak of.
    let p99 = |point: &Point| if point.report.good < 100 { f64::NAN } else { point.report.p99 };
    Picture {
        title: match sweep.name {
            "limits" => "A service of 40 workers whose clients wait for a second",
            "adaptive" => "The same service under adaptive limits",
            "queues" => "The same service, a limit of 50, and a queue before it",
            _ => "One to two minutes after ten seconds in which the service was ten times slower",
        }
        .into(),
        names: sweep.stacks.iter().map(|(name, _)| *name).collect(),
        panels: vec![
            panel(
                "Goodput: answers in time",
                [0.0, 100.0, 25.0],
                "%",
                lines(&|point| 100.0 * point.report.goodput / capacity),
            ),
            panel("p99 of those answers", [0.0, patience, patience / 4.0], " ms", lines(&p99)),
        ],
    }
}

fn storm_picture(storms: &[Point]) -> Picture {
    let offered = scenario::STORM_LOAD * Setup::default().capacity();
    // The mean of three seconds, for Poisson arrivals make the lines of single ones hard to tell apart.
    let line = |point: &Point| {
        let middle = |(at, seconds): (usize, &[u32])| {
            ((at + 1) as f64, seconds.iter().sum::<u32>() as f64 / 3.0 / offered * 100.0)
        };
        point.report.seconds[..(scenario::DIP.1 + 120) as usize].windows(3).enumerate().map(middle).collect()
    };
    Picture {
        title: "A storm of retries: the trigger goes, the failure stays".into(),
        names: storms.iter().map(|point| point.stack).collect(),
        panels: vec![Panel {
            title: "Answers in time, as a part of the calls, at a load of 0.7".into(),
            x: "seconds".into(),
            x_axis: [0.0, (scenario::DIP.1 + 120) as f64, 20.0],
            y_axis: [0.0, 150.0, 50.0],
            unit: "%",
            band: Some((scenario::DIP.0 as f64, scenario::DIP.1 as f64, "ten seconds of a tenth of the capacity")),
            lines: storms.iter().map(line).collect(),
        }],
    }
}
