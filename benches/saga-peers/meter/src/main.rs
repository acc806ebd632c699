//! Builds the contenders, runs them in turns on one disk, and prints their medians side by side.
//!
//! `just bench-saga-peers [<seconds> [<rounds> [<contender>...]]]`

mod postgres;

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::postgres::Postgres;

/// What is compared: the program, its variant, and how the table calls it. The others are held against the first.
const CONTENDERS: &[(&str, &str, &str)] = &[
    ("buttress", "", "buttress, SQLite"),
    ("steno", "grouped", "steno, our store on SQLite, group commit"),
    ("steno", "single", "steno, our store on SQLite, a commit each"),
    ("durare", "sqlite", "durare, SQLite"),
    ("duroxide", "tuned", "duroxide, SQLite, one connection, 1 ms"),
    ("duroxide", "default", "duroxide, SQLite, as it comes"),
    ("durare", "postgres", "durare, PostgreSQL"),
    ("dbos", "postgres", "dbos, PostgreSQL"),
];
const IN_FLIGHT: [usize; 3] = [1, 16, 256];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut words = env::args().skip(1);
    let seconds: f64 = words.next().map_or(Ok(4.0), |word| word.parse())?;
    let rounds: usize = words.next().map_or(Ok(3), |word| word.parse())?;
    let wanted: Vec<String> = words.collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("benches/saga-peers")?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("../../target/saga-peers"), PathBuf::from);
    fs::create_dir_all(&target)?;
    let target = target.canonicalize()?;

    let folder = target.join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = compare(here, &target, &folder, (seconds, rounds), &wanted);
    fs::remove_dir_all(&folder)?;
    measured
}

fn compare(
    here: &Path,
    target: &Path,
    folder: &Path,
    (seconds, rounds): (f64, usize),
    wanted: &[String],
) -> Result<()> {
    let shim = shim(here, folder)?;
    let postgres = Postgres::start(folder, |server| shim.count(server))?;
    if postgres.is_none() {
        eprintln!("PostgreSQL isn't installed: who needs it is left out");
    }
    let asked = |contender: &&(&str, &str, &str)| {
        (wanted.is_empty() || wanted.iter().any(|name| name == contender.0))
            && (contender.1 != "postgres" || postgres.is_some())
    };
    let contenders: Vec<_> = CONTENDERS.iter().filter(asked).collect();
    for (program, ..) in &contenders {
        build(here, target, program)?;
    }

    println!("sagas of three steps, {} cores, medians of {rounds} rounds of {seconds} s", cores());
    println!("one write of 8 KiB and fdatasync on this disk: {:.2} ms\n", wait(folder)?);
    let mut rows: Vec<Vec<Vec<Figures>>> = vec![vec![Vec::new(); IN_FLIGHT.len()]; contenders.len()];
    for round in 0..rounds {
        for (level, in_flight) in IN_FLIGHT.iter().enumerate() {
            for turn in 0..contenders.len() {
                // Each round begins with another, as each leaves the disk busy for the next.
                let row = (turn + round * 3) % contenders.len();
                let (program, variant, name) = contenders[row];
                let own = folder.join(format!("{program}-{variant}-{in_flight}-{round}"));
                fs::create_dir_all(&own)?;
                let mut run = Command::new(target.join("release").join(format!("saga-peer-{program}")));
                run.arg(&own).args([in_flight.to_string(), seconds.to_string(), (*variant).to_owned()]);
                if let (&"postgres", Some(postgres)) = (variant, &postgres) {
                    run.env("DATABASE", postgres.database()?);
                }
                shim.count(&mut run);
                let printed = run.stderr(Stdio::inherit()).output()?;
                fs::remove_dir_all(&own)?;
                let figures = Figures::read(&String::from_utf8_lossy(&printed.stdout));
                eprintln!("round {round}, {in_flight:>3} in flight, {name}: {figures:?}");
                rows[row][level].extend(figures);
            }
        }
    }
    for (level, in_flight) in IN_FLIGHT.iter().enumerate() {
        println!("{:<42} sagas/s  ratio  fsyncs a saga  p50 ms  p99 ms", format!("{in_flight} in flight"));
        let first = median(&rows[0][level], |figures| figures.rate);
        for ((.., name), row) in contenders.iter().zip(&rows) {
            if row[level].len() < rounds {
                println!("{name:<42} failed in {} of {rounds} rounds", rounds - row[level].len());
                continue;
            }
            let of = |what: fn(&Figures) -> f64| median(&row[level], what);
            let (rate, syncs) = (of(|figures| figures.rate), of(|figures| figures.syncs));
            let (p50, p99) = (of(|figures| figures.p50), of(|figures| figures.p99));
            println!("{name:<42} {rate:>7.0} {:>6.3} {syncs:>14.2} {p50:>7.1} {p99:>7.1}", rate / first);
        }
        println!();
    }
    Ok(())
}

#[derive(Clone, Debug)]
struct Figures {
    /// Sagas a second.
    rate: f64,
    /// A saga.
    syncs: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
}

impl Figures {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.trim().split(',').map(|field| field.parse().ok());
        let mut next = || fields.next().flatten();
        Some(Self { rate: next()?, syncs: next()?, p50: next()?, p99: next()? })
    }
}

fn median(rounds: &[Figures], what: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(what).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn build(here: &Path, target: &Path, program: &str) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--quiet"]).env("CARGO_TARGET_DIR", target);
    succeed(cargo.current_dir(here.join(program)))
}

/// What counts fsyncs, and where.
struct Shim {
    library: PathBuf,
    count: PathBuf,
}

fn shim(here: &Path, folder: &Path) -> Result<Shim> {
    let shim = Shim { library: folder.join("syncs.so"), count: folder.join("syncs") };
    fs::write(&shim.count, [0; 8])?;
    // PostgreSQL counts too, under a user of its own.
    succeed(Command::new("chmod").args(["666"]).arg(&shim.count))?;
    let mut cc = Command::new("cc");
    succeed(cc.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&shim.library).arg(here.join("syncs.c")).arg("-ldl"))?;
    Ok(shim)
}

impl Shim {
    fn count(&self, program: &mut Command) {
        program.env("LD_PRELOAD", &self.library).env("SYNCS", &self.count);
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|why| format!("{command:?}: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The median of what the disk takes to make an append durable, in milliseconds.
fn wait(folder: &Path) -> Result<f64> {
    use std::{io::Write, time::Instant};
    let mut file = fs::File::create(folder.join("wait"))?;
    let mut took = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        file.write_all(&[7; 8192])?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}
