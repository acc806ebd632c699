//! The three processes, their files, and everybody who asks.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use crate::{
    checker::{self, Violation},
    client::Clients,
    history::{self, History},
    net::Net,
    process::{Process, Started},
    role::Role,
};

/// How long it may take until everything is at rest.
pub(crate) const REST: Duration = Duration::from_secs(20);

/// The three processes, their files, and everybody who asks. Dropped, the processes are killed, and the files are removed
/// unless something was wrong.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) coordinator: Process,
    pub(crate) stock: Process,
    pub(crate) money: Process,
    pub(crate) clients: Clients,
    /// Between the coordinator and the stock, and the money.
    pub(crate) nets: (Net, Net),
    /// How long it may take until everything is at rest.
    pub(crate) patience: Duration,
    is_clean: bool,
}

/// What was wrong.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) violations: Vec<Violation>,
    /// It didn't come to rest in time.
    pub(crate) is_restless: bool,
    pub(crate) report: String,
}

impl World {
    /// Three processes with empty books, and a network between them that can misbehave if they are told to go `through` it.
    /// Without it, who is dead refuses connections.
    pub(crate) async fn new(name: &str, environment: &[(&str, &str)], seed: u64, through: bool) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let dir = format!("buttress-crash-{name}-{}-{number}-{since}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let [mut coordinator, mut stock, mut money] = Role::ALL.map(|role| Process::new(role, &dir));
        for (variable, value) in environment {
            for process in [&mut coordinator, &mut stock, &mut money] {
                process.set(variable, *value);
            }
        }
        let nets =
            (Net::before(stock.url(), true, seed).await, Net::before(money.url(), false, seed.wrapping_add(1)).await);
        coordinator.set("CRASH_STOCK", if through { nets.0.url() } else { stock.url() });
        coordinator.set("CRASH_MONEY", if through { nets.1.url() } else { money.url() });
        let started = tokio::join!(coordinator.start(""), stock.start(""), money.start(""));
        assert_eq!(started, (Started::Ready, Started::Ready, Started::Ready));
        let clients = Clients::new(coordinator.url());
        Self { dir, coordinator, stock, money, clients, nets, patience: REST, is_clean: true }
    }

    pub(crate) fn process(&mut self, role: Role) -> &mut Process {
        match role {
            Role::Coordinator => &mut self.coordinator,
            Role::Stock => &mut self.stock,
            Role::Money => &mut self.money,
        }
    }

    /// Starts whoever is dead, and waits until nothing is left to be done.
    pub(crate) async fn rest(&mut self) -> Result<(), String> {
        for role in Role::ALL {
            if !self.process(role).is_running() {
                self.process(role).start("").await;
            }
        }
        let until = Instant::now() + self.patience;
        loop {
            let unfinished = self.coordinator.tell("rest").await;
            match unfinished.as_deref() {
                Some("0") => return Ok(()),
                _ if Instant::now() >= until => {
                    return Err(format!("not at rest after {:?}: unfinished {unfinished:?}", self.patience));
                }
                _ => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    pub(crate) async fn history(&self) -> History {
        let mut history = history::read(&self.dir).await.expect("the files can be read");
        (history.asked, history.misused) = self.clients.asked();
        history
    }

    /// Waits for rest, and holds what was seen against what was promised.
    pub(crate) async fn check(&mut self, may_be_parked: &[String]) -> Result<(), Wrong> {
        let rested = self.rest().await;
        let mut history = self.history().await;
        history.may_be_parked = may_be_parked.iter().cloned().collect();
        let violations = checker::check(&history);
        if rested.is_ok() && violations.is_empty() {
            return Ok(());
        }
        self.is_clean = false;
        let mut report = format!("{}\n", self.dir.display());
        if let Err(problem) = &rested {
            report.push_str(&format!("{problem}\n"));
        }
        let mut told = std::collections::BTreeSet::new();
        for violation in &violations {
            report.push_str(&format!("{violation}\n"));
            if let Some(saga) = &violation.saga
                && told.len() < 3
                && told.insert(saga.clone())
            {
                report.push_str(&history.tell(saga));
            }
        }
        Err(Wrong { violations, is_restless: rested.is_err(), report })
    }

    /// Kills everybody, and removes the files.
    pub(crate) async fn end(mut self) {
        for role in Role::ALL {
            self.process(role).kill().await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.is_clean && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
