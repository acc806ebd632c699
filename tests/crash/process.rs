//! A child process: started, told what to do, killed, started again at the same port.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpSocket,
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::role::Role;

/// How long a process may take to start, or to answer a line.
const PATIENCE: Duration = Duration::from_secs(20);

/// One of the three, dead or alive.
pub(crate) struct Process {
    role: Role,
    dir: PathBuf,
    port: u16,
    /// Bound and never listening: the port stays ours while nobody listens, and whoever connects then is refused.
    _held: TcpSocket,
    env: Vec<(String, String)>,
    running: Option<Running>,
    /// How long starts took.
    pub(crate) starts: Vec<Duration>,
}

struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
    /// Failpoints that were reached, as `P2: pause`.
    points: mpsc::UnboundedReceiver<String>,
}

/// How a start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    Ready,
    /// It died before it was ready, as it had been told.
    Died,
}

impl Process {
    pub(crate) fn new(role: Role, dir: &Path) -> Self {
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = held.local_addr().unwrap().port();
        let (env, running, starts) = (Vec::new(), None, Vec::new());
        Self { role, dir: dir.to_owned(), port, _held: held, env, running, starts }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it finds in its environment, from its next start on.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
    }

    /// Starts it, with these failpoints from the beginning.
    pub(crate) async fn start(&mut self, failpoints: &str) -> Started {
        self.start_and(failpoints, !failpoints.is_empty()).await
    }

    /// Starts it; it may die of what it finds.
    pub(crate) async fn start_or_die(&mut self) -> Started {
        self.start_and("", true).await
    }

    async fn start_and(&mut self, failpoints: &str, may_die: bool) -> Started {
        assert!(self.running.is_none(), "{} runs", self.role.as_str());
        let begun = Instant::now();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--role", self.role.as_str()])
            .arg(&self.dir)
            .arg(self.port.to_string())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("BUTTRESS_FAILPOINTS", failpoints)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (said, lines) = mpsc::unbounded_channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                let _ = said.send(line);
            }
        });
        let (reached, points) = mpsc::unbounded_channel();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = self.log();
        let _ = writeln!(log, "-- started, pid {}, failpoints {failpoints:?}", child.id().unwrap_or_default());
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                let _ = writeln!(log, "{line}");
                if let Some(point) = line.strip_prefix("failpoint ") {
                    let _ = reached.send(point.to_owned());
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        let mut running = Running { child, stdin, lines, points };
        let first = timeout(PATIENCE, running.lines.recv()).await.expect("a child starts in time");
        match first.as_deref() {
            Some("ready") => {
                self.starts.push(begun.elapsed());
                self.running = Some(running);
                Started::Ready
            }
            other => {
                let status = running.child.wait().await.unwrap();
                let armed = std::iter::from_fn(|| running.points.try_recv().ok()).last();
                let died = may_die && other.is_none();
                assert!(died, "{} didn't start ({status}, {armed:?}): see {}", self.role.as_str(), self.dir.display());
                Started::Died
            }
        }
    }

    fn log(&self) -> File {
        let path = self.dir.join(format!("{}.log", self.role.as_str()));
        OpenOptions::new().create(true).append(true).open(path).unwrap()
    }

    /// Tells it something, and returns what it says to that; nothing if it died over it.
    pub(crate) async fn tell(&mut self, line: &str) -> Option<String> {
        let running = self.running.as_mut()?;
        running.stdin.write_all(format!("{line}\n").as_bytes()).await.ok()?;
        timeout(PATIENCE, running.lines.recv()).await.expect("a child answers in time")
    }

    /// Waits until it dies of itself; false if it doesn't for so long.
    pub(crate) async fn dies(&mut self, within: Duration) -> bool {
        let Some(running) = &mut self.running else { return true };
        if timeout(within, running.child.wait()).await.is_err() {
            return false;
        }
        self.running = None;
        true
    }

    /// Waits until somebody stands still at a failpoint; false if nobody does for so long.
    pub(crate) async fn pauses(&mut self, within: Duration) -> bool {
        let Some(running) = &mut self.running else { return false };
        matches!(timeout(within, running.points.recv()).await, Ok(Some(_)))
    }

    /// `kill -9`, by its pid.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.start_kill();
            running.child.wait().await.unwrap();
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("role", &self.role).field("port", &self.port).finish_non_exhaustive()
    }
}
