//! `cargo run`: the system under a light load, with a line a second, until Ctrl-C.

use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cli::{Common, Started, interrupted};
use crate::load::{Load, Tally};
use crate::report::{self, millis};
use crate::running::StartError;
use crate::system::System;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Orders a second; 0 for none.
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    rate: f64,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("must be from 0 to 10000".to_owned()),
    }
}

/// Whether the verdict holds.
pub(crate) async fn run(options: &Options, common: Common) -> Result<bool, StartError> {
    let started = common.start().await?;
    let load = Load::new(started.system.gateway(), started.seed)?;
    say!("\n{}\n", try_this(&started, &load));
    let (stop, stopped) = watch::channel(());
    let placing = tokio::spawn({
        let (load, rate) = (load.clone(), options.rate);
        async move {
            if rate > 0.0 {
                load.place_steadily(rate, stopped).await;
            }
        }
    });
    let changes = report::tell_changes(&started.system);
    tokio::select! {
        () = lines(&started.system, &load) => {}
        () = interrupted() => {}
    }
    say!("\nstopping");
    drop(stop);
    let _ = placing.await;
    drop(changes);
    report::finish(started.system, started.data).await
}

fn try_this(started: &Started, load: &Load) -> String {
    let (gateway, order) = (started.system.gateway(), load.example());
    format!("try: curl -si http://{gateway}/v2/orders -H 'content-type: application/json' -d '{order}'")
}

async fn lines(system: &System, load: &Load) {
    let began = Instant::now();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut before = load.tally();
    loop {
        ticks.tick().await;
        let now = load.tally();
        let sagas = report::sagas_under_way(system).await;
        say!("{}", line(began.elapsed(), &before, &now, sagas, system));
        before = now;
    }
}

fn line(up: Duration, before: &Tally, now: &Tally, sagas: usize, system: &System) -> String {
    let recent = now.latency.since(&before.latency);
    let mut line = format!(
        "{:>5} s  {:>3} orders/s  {} confirmed  {} rejected  p50 {}  p99 {}  {} in flight  {sagas} sagas at work  breakers {}",
        up.as_secs(),
        recent.count(),
        now.confirmed(),
        now.rejected(),
        millis(recent.quantile(0.5)),
        millis(recent.quantile(0.99)),
        now.in_flight,
        report::breakers_in_short(system),
    );
    if now.unanswered + now.held_back > 0 {
        line.push_str(&format!("  {} unanswered  {} held back", now.unanswered, now.held_back));
    }
    line
}
