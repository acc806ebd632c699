//! `demo`: a bounded load, what came of it, and the verdict.

use clap::Args;
use tokio::time::Instant;

use crate::cli::{Common, interrupted};
use crate::load::{Load, Tally};
use crate::report::{self, millis};
use crate::running::StartError;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many orders.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    orders: u64,
    /// How many customers at once, each waiting for an answer.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    customers: u16,
}

/// Whether every order was answered and the verdict holds.
pub(crate) async fn run(options: &Options, common: Common) -> Result<bool, StartError> {
    let started = common.start().await?;
    let load = Load::new(started.system.gateway(), started.seed)?;
    let changes = report::tell_changes(&started.system);
    say!();
    let began = Instant::now();
    tokio::select! {
        () = load.place_all(options.orders, options.customers.into()) => {}
        () = interrupted() => say!("stopping"),
    }
    let took = began.elapsed();
    let tally = load.tally();
    summarize(&tally, took.as_secs_f64());
    say!();
    report::policies(&started.system);
    say!();
    let holds = report::finish(started.system, started.data).await?;
    drop(changes);
    Ok(holds && tally.unanswered == 0)
}

fn summarize(tally: &Tally, seconds: f64) {
    let orders = tally.latency.count();
    say!("{orders} orders in {seconds:.2} s: {:.0} orders/s", orders as f64 / seconds);
    let latency = &tally.latency;
    say!(
        "latency    p50 {}  p90 {}  p99 {}  max {}",
        millis(latency.quantile(0.5)),
        millis(latency.quantile(0.9)),
        millis(latency.quantile(0.99)),
        millis(latency.max())
    );
    let answers: Vec<_> = tally.answers.iter().map(|(status, count)| format!("{count} x {status}")).collect();
    say!("answers    {}", answers.join(", "));
    if tally.turned_away > 0 {
        say!("           {} of them turned away before there was an order", tally.turned_away);
    }
    if tally.unanswered > 0 {
        say!("unanswered {}", tally.unanswered);
    }
    say!("looked up  {} orders, {} with a part missing", tally.views, tally.partial_views);
}
