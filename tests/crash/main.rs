//! A coordinator and two participants, killed at every failpoint and at random.
//!
//! `cargo test --test crash` runs a few hundred kills, `just crash` as many as fit into ten minutes. Real processes on
//! loopback, real SQLite files; after each round everything comes to rest, and what the participants did, what the journal
//! says and what clients were told is held against the invariants I1 to I10 of the design, which `checker` lists.
//!
//! `BUTTRESS_CRASH_SEED` repeats the plan of a run (not its timing), `BUTTRESS_CRASH_KILLS` and `BUTTRESS_CRASH_SECONDS` say
//! how long it is.

mod blow;
mod checker;
mod client;
mod history;
mod matrix;
mod net;
mod parked;
mod planted;
mod process;
mod role;
mod runner;
mod shop;
mod world;

use std::time::Duration;

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--role") {
        let role = args.next().and_then(|role| role::Role::of(&role)).expect("a role is one of three");
        role::live(role, args);
    }
    let tests: &[(&str, fn())] = &[("every_kill_leaves_everything_done_or_undone", kill)];
    runner::run(
        &tests
            .iter()
            .chain(parked::TESTS)
            .chain(planted::TESTS)
            .chain(checker::tests::TESTS)
            .copied()
            .collect::<Vec<_>>(),
    );
}

fn kill() {
    let number = |name: &str, or: u64| {
        std::env::var(name).map_or(or, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
    };
    let seed = number("BUTTRESS_CRASH_SEED", fastrand::u64(..));
    let kills = u32::try_from(number("BUTTRESS_CRASH_KILLS", 300)).unwrap_or(u32::MAX);
    let length = matrix::Length { kills, at_least: Duration::from_secs(number("BUTTRESS_CRASH_SECONDS", 0)) };
    println!("BUTTRESS_CRASH_SEED={seed}");
    match runtime().block_on(matrix::run(seed, length, 2)) {
        Ok(tally) => {
            println!("{tally}");
            let missed = tally.missed();
            assert!(tally.kills() < 300 || missed.is_empty(), "never reached: {missed:?}");
        }
        Err(report) => panic!("BUTTRESS_CRASH_SEED={seed}\n{report}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
