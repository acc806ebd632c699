//! A PostgreSQL of this run, on the disk of the others, as durable as it comes: with `fsync`, `synchronous_commit`.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use crate::{Result, succeed};

pub struct Postgres {
    server: Child,
    bin: PathBuf,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts it in `folder`, or nothing where it isn't installed.
    pub fn start(folder: &Path, prepare: impl FnOnce(&mut Command)) -> Result<Option<Self>> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut places: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
        places.sort();
        let Some(bin) = places.into_iter().rev().find(|bin| bin.join("initdb").exists()) else {
            return Ok(None);
        };
        let home = folder.join("postgres");
        fs::create_dir_all(&home)?;
        if is_root() {
            succeed(Command::new("chown").arg("postgres:postgres").arg(&home))?;
        }
        let data = home.join("data");
        let mut initdb = as_postgres(&bin.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
        succeed(initdb.stdout(Stdio::null()))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = as_postgres(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
        prepare(server.stdout(Stdio::null()).stderr(Stdio::null()));
        let postgres = Self { server: server.spawn()?, bin, port, databases: AtomicU32::new(0) };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() && postgres.database().is_ok() {
                return Ok(Some(postgres));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("PostgreSQL didn't come up in ten seconds".into())
    }

    /// The address of an empty database.
    pub fn database(&self) -> Result<String> {
        let name = format!("run_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let mut createdb = Command::new(self.bin.join("createdb"));
        succeed(createdb.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", &name]).stderr(Stdio::null()))?;
        Ok(format!("postgres://postgres@127.0.0.1:{port}/{name}"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, and its children with it, as a kill of the one process would not.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

/// PostgreSQL refuses to run as root. It is told to die with this process.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0)
}
