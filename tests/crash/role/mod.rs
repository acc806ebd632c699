//! The three processes: this binary again, told by its arguments what to be.
//!
//! A child serves on the port that it is given, says `ready`, and does what lines on its standard input tell it. When that
//! ends, its parent is gone, and so is it.

mod books;
mod calls;
mod coordinator;
mod defined;
mod money;
mod stock;

use std::{
    io::BufRead,
    path::PathBuf,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

use buttress::failpoint;
use tokio::net::{TcpListener, TcpSocket};

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    Coordinator,
    Stock,
    Money,
}

/// What a child needs to know.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    port: u16,
}

/// How many undos are still to be refused.
static STUBBORN: AtomicI64 = AtomicI64::new(0);

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Coordinator, Self::Stock, Self::Money];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Stock => "stock",
            Self::Money => "money",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// The life of a child: `crash --role money DIR PORT`.
pub(crate) fn live(role: Role, mut args: impl Iterator<Item = String>) -> ! {
    let dir = PathBuf::from(args.next().expect("a child is given a folder"));
    let port = args.next().and_then(|port| port.parse().ok()).expect("a child is given a port");
    let filter = std::env::var("CRASH_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place = Place { dir, port };
    runtime.block_on(async move {
        match role {
            Role::Coordinator => coordinator::live(place).await,
            Role::Stock => stock::live(place).await,
            Role::Money => money::live(place).await,
        }
    });
    std::process::exit(0)
}

impl Place {
    /// Listens where the parent said. The port is held for us while we are dead, so that nobody else gets it.
    fn listen(&self) -> TcpListener {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], self.port).into()).expect("the port was reserved");
        socket.listen(1024).unwrap()
    }
}

/// Does what the parent says, a line each, and answers with a line. `other` is for what not every role knows.
fn obey<F, Fut>(other: F)
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = String> + Send + 'static,
{
    let (lines, mut told) = tokio::sync::mpsc::unbounded_channel();
    // A thread of its own, for it has to see the end of the pipe though the runtime stands still at a failpoint.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line {
                Ok(line) => drop(lines.send(line)),
                Err(_) => break,
            }
        }
        std::process::exit(0)
    });
    tokio::spawn(async move {
        while let Some(line) = told.recv().await {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let answer = match word {
                "arm" => {
                    failpoint::arm(rest);
                    "armed".to_owned()
                }
                "disarm" => {
                    failpoint::disarm(rest);
                    "disarmed".to_owned()
                }
                "release" => {
                    failpoint::release(rest);
                    "released".to_owned()
                }
                "stubborn" => {
                    STUBBORN.store(rest.parse().unwrap(), Relaxed);
                    "stubborn".to_owned()
                }
                _ => other(line.clone()).await,
            };
            say(&answer);
        }
    });
}

fn say(line: &str) {
    // The parent may be gone, and then so are we in a moment.
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), format!("{line}\n").as_bytes());
}

/// Whether this undo is to be refused.
fn is_stubborn() -> bool {
    STUBBORN.fetch_update(Relaxed, Relaxed, |left| (left > 0).then(|| left - 1)).is_ok()
}
