//! What is done how often: the matrix of the design, and what it came to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::time::Instant;

use crate::{
    blow::{Blow, Weathered},
    client::Mix,
    net::Weather,
    shop::Fate::{self, Commits, Declines, Defined, Flaky, Labels, Panics, Refused, Resumed, Tips},
    world::World,
};

/// One point of the matrix.
#[derive(Debug, Clone, Copy)]
struct Point {
    name: &'static str,
    blow: Blow,
    fates: &'static [Fate],
}

const ALL: &[Fate] =
    &[Commits, Commits, Commits, Tips, Flaky, Refused, Declines, Panics, Labels, Defined, Defined, Resumed, Resumed];
const GOOD: &[Fate] = &[Commits, Commits, Tips];
const DEFINED: &[Fate] = &[Defined, Resumed];
const BAD: &[Fate] = &[Refused, Declines, Declines, Panics, Labels];

const fn point(name: &'static str, blow: Blow, fates: &'static [Fate]) -> Point {
    Point { name, blow, fates }
}

/// C22 is an operator's, and has tests of its own.
const POINTS: &[Point] = &[
    point("C1", Blow::Coordinator("C1"), ALL),
    point("C2", Blow::Coordinator("C2"), ALL),
    point("C3", Blow::Coordinator("C3"), ALL),
    point("C4", Blow::While("inbound"), ALL),
    point("C5", Blow::While("P1"), ALL),
    point("C6", Blow::While("P2"), ALL),
    point("C7", Blow::Coordinator("C7"), ALL),
    point("C8", Blow::SecondStep, GOOD),
    point("C9", Blow::Coordinator("C9"), ALL),
    point("C10", Blow::Coordinator("C10"), GOOD),
    point("C11", Blow::Coordinator("C11"), GOOD),
    point("C12", Blow::Coordinator("C12"), GOOD),
    point("C13", Blow::Coordinator("C13"), GOOD),
    point("C14", Blow::Coordinator("C14"), BAD),
    point("C15", Blow::Coordinator("C15"), BAD),
    point("C16", Blow::Coordinator("C16"), BAD),
    point("C17", Blow::Coordinator("C17"), BAD),
    point("C18", Blow::Restarting("C18", 1), ALL),
    point("C19", Blow::Restarting("C15", 3), BAD),
    point("C19", Blow::Restarting("C16", 3), BAD),
    point("C20", Blow::Coordinator("C20"), ALL),
    point("C20", Blow::Restarting("C20", 1), ALL),
    point("C21", Blow::Drain, ALL),
    point("P1", Blow::Participant("P1"), ALL),
    point("P2", Blow::Participant("P2"), ALL),
    point("P3", Blow::Late, ALL),
    point("P4", Blow::Weather(Weathered::Twice), ALL),
    point("P5", Blow::Weather(Weathered::Late), ALL),
    point("P6", Blow::Weather(Weathered::Lost), ALL),
    point("P7", Blow::Stubborn, BAD),
    point("defined", Blow::Random, DEFINED),
    point("random", Blow::Random, ALL),
    point("random", Blow::Random, ALL),
];

/// How long to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) kills: u32,
    pub(crate) at_least: Duration,
}

/// What it came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By point: runs, runs that reached it, kills.
    points: BTreeMap<&'static str, (u32, u32, u32)>,
    kills: u32,
    rounds: u32,
    orders: usize,
    starts: Vec<Duration>,
}

/// Goes through the matrix, in an order and at visits that the seed decides, in as many worlds at once as there are
/// `lanes`.
pub(crate) async fn run(seed: u64, length: Length, lanes: u64) -> Result<Tally, String> {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let ending = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for lane in 0..lanes {
        let (tally, ending) = (Arc::clone(&tally), Arc::clone(&ending));
        running.spawn(async move {
            let mut through = lane % 2 == 0;
            let mut chance = Rng::with_seed(seed.wrapping_add(lane.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            while !ending.load(Relaxed) {
                if tally.lock().unwrap().is_enough(length, begun) {
                    break;
                }
                // Through all of it in one world, and then in a new one.
                if let Err(report) = chapter(&mut chance, through, &tally, &ending, length, begun).await {
                    ending.store(true, Relaxed);
                    return Err(report);
                }
                through = !through;
            }
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(ended) => ended?,
            Err(panicked) => {
                ending.store(true, Relaxed);
                return Err(panicked.to_string());
            }
        }
    }
    let tally = std::mem::take(&mut *tally.lock().unwrap());
    Ok(tally)
}

async fn chapter(
    chance: &mut Rng,
    through: bool,
    tally: &Mutex<Tally>,
    ending: &AtomicBool,
    length: Length,
    begun: Instant,
) -> Result<(), String> {
    let mut points = POINTS.to_vec();
    points.retain(|point| through || !point.blow.needs_nets());
    chance.shuffle(&mut points);
    let mut world = World::new("matrix", &[], chance.u64(..), through).await;
    // Half of the time the network is never quite well.
    if through && chance.bool() {
        let (stock, money) = &mut world.nets;
        for net in [stock, money] {
            net.is_never_better_than(Weather {
                duplicates: 0.1,
                delays: (0.05, Duration::from_millis(500)),
                drops: 0.03,
            });
        }
    }
    for point in points {
        let at_once = point.blow.prepare(&mut world, chance).await;
        let mix = Mix { at_once, fates: point.fates, mannered: chance.bool() };
        let load = world.clients.load(mix, chance.u64(..));
        let mut round = Vec::new();
        for _ in 0..if point.blow.is_repeatable() { chance.u32(1..=4) } else { 1 } {
            round.push(point.blow.strike(&mut world, at_once, chance).await);
        }
        load.end().await;
        let checked = world.check(&[]).await;
        let mut tally = tally.lock().unwrap();
        tally.rounds += 1;
        for struck in round {
            let (runs, hits, kills) = tally.points.entry(point.name).or_default();
            (*runs, *hits, *kills) = (*runs + 1, *hits + u32::from(struck.hit), *kills + struck.kills);
            tally.kills += struck.kills;
        }
        if let Err(wrong) = checked {
            return Err(format!("after {} with {mix:?}, round {}:\n{}", point.name, tally.rounds, wrong.report));
        }
        if ending.load(Relaxed) || tally.is_enough(length, begun) {
            break;
        }
    }
    {
        let mut tally = tally.lock().unwrap();
        tally.orders += world.clients.asked().0.len();
        for role in crate::role::Role::ALL {
            tally.starts.append(&mut world.process(role).starts);
        }
    }
    world.end().await;
    Ok(())
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} kills in {} rounds, {} orders", self.kills, self.rounds, self.orders)?;
        for (name, (runs, hits, kills)) in &self.points {
            writeln!(f, "  {name:<6} {runs:>4} runs, {hits:>4} reached, {kills:>4} kills")?;
        }
        let mut starts = self.starts.clone();
        starts.sort();
        let median = starts.get(starts.len() / 2).copied().unwrap_or_default();
        write!(
            f,
            "  {} starts, median {median:?}, longest {:?}",
            starts.len(),
            starts.last().copied().unwrap_or_default()
        )
    }
}

impl Tally {
    /// The points that were never reached, or meant.
    pub(crate) fn missed(&self) -> Vec<&'static str> {
        let reached = |name| self.points.get(name).is_some_and(|(_, hits, _)| *hits > 0);
        POINTS.iter().map(|point| point.name).filter(|name| !reached(*name)).collect()
    }

    /// Whether it may end: also with a point that was never reached, in the end, so that this can be told.
    fn is_enough(&self, length: Length, begun: Instant) -> bool {
        let all = self.missed().is_empty() || self.kills >= 3 * length.kills || length.kills < 300;
        all && self.kills >= length.kills && begun.elapsed() >= length.at_least
    }

    pub(crate) fn kills(&self) -> u32 {
        self.kills
    }
}
