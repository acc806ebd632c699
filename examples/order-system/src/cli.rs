//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::audit::audit;
use crate::chaos::Chaos;
use crate::data_dir::DataDir;
use crate::payments::Faults;
use crate::running::StartError;
use crate::system::{Port, System};
use crate::{demo, live, service};

/// The gateway's port when none is asked for.
const USUAL_PORT: u16 = 8080;

/// Gateway, orders, inventory and payments on loopback, with a light load and a live line a second.
/// Ctrl-C stops it and prints the verdict.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    live: live::Options,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Place a number of orders, print what came of them, and judge; exit code 1 if anything is wrong.
    Demo {
        #[command(flatten)]
        demo: demo::Options,
        #[command(flatten)]
        common: Common,
    },
    /// Judge the databases of a stopped system; exit code 1 if anything is wrong.
    Audit {
        /// The directory that was kept with --data-dir.
        #[arg(long, visible_alias = "data", value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Run one service as a process of its own, until Ctrl-C or SIGTERM.
    Service(service::Options),
}

/// What every way to run it has.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The share of charges that fail, from 0 to 1: some declined, some broken before and some after booking.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    fail_payments: f64,
    /// The share of requests to inventory and payments that go wrong on the way, from 0 to 1: late, failed before the work
    /// or after it, hanging, done and never answered, broken off.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    chaos: f64,
    /// Draw customers, baskets and failures from this seed. [default: a fresh one, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// The gateway's port. [default: 8080 if it is free, else any]
    #[arg(long)]
    port: Option<u16>,
    /// Keep the databases here. [default: a temporary directory, removed when all went well]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to 1".to_owned()) }
}

/// Reads the arguments, does what they say, and gives the process's exit code.
pub async fn main() -> ExitCode {
    let Cli { command, live, common } = Cli::parse();
    let done = match command {
        None => live::run(&live, common).await,
        Some(Command::Demo { demo, common }) => demo::run(&demo, common).await,
        Some(Command::Audit { data_dir }) => judge(data_dir).await,
        Some(Command::Service(options)) => service::run(options).await.map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("order-system: {}", with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

async fn judge(path: PathBuf) -> Result<bool, StartError> {
    if !path.is_dir() {
        return Err(format!("{} is not a directory", path.display()).into());
    }
    let verdict = audit(&DataDir::at(path)?).await?;
    say!("{verdict}");
    Ok(verdict.holds())
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A system that was started by these options, and what belongs to it.
pub(crate) struct Started {
    pub(crate) system: System,
    pub(crate) data: DataDir,
    pub(crate) seed: u64,
}

impl Common {
    /// Starts the system and prints where it is.
    pub(crate) async fn start(self) -> Result<Started, StartError> {
        let data = match self.data_dir {
            Some(path) => DataDir::at(path)?,
            None => DataDir::temporary()?,
        };
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let port = self.port.map_or(Port::Preferred(USUAL_PORT), Port::Exactly);
        let (faults, chaos) = (Faults::new(self.fail_payments, seed)?, Chaos::new(self.chaos, seed)?);
        let system = System::start(&data, port, faults, chaos).await?;
        for service in system.services() {
            say!("{:<10} http://{}", service.name(), service.address());
        }
        say!("databases  {}", data.path().display());
        say!("seed       {seed}");
        Ok(Started { system, data, seed })
    }
}

/// Waits for Ctrl-C, or to be told to stop otherwise. The second time ends the process at once.
pub(crate) async fn interrupted() {
    stop_signal().await;
    tokio::spawn(async {
        stop_signal().await;
        std::process::exit(130);
    });
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
