//! The suite on PostgreSQL: one cluster for all of the tests, and a database for each.
//!
//! The cluster is a server of our own in a folder of its own, which dies with the test binary. Where PostgreSQL isn't
//! installed the tests say so, and pass; with `BUTTRESS_REQUIRE_POSTGRES` set they fail instead.

use std::{
    env, fs,
    io::{self, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::Duration,
};

use sqlx::{
    Executor as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::OnceCell;

#[path = "suite/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the same suite on every database")]
mod suite;

pub(super) type Db = sqlx::Postgres;

const ID: &str = "BIGSERIAL PRIMARY KEY";

/// A database of its own.
pub(super) struct Database {
    pub(super) pool: PgPool,
}

impl Database {
    pub(super) async fn new() -> Option<Self> {
        static PORT: OnceCell<Option<u16>> = OnceCell::const_new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let port = (*PORT.get_or_init(start).await)?;
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("postgres");
        let admin = PgPoolOptions::new().max_connections(1).connect_with(options.clone().database("postgres"));
        let name = format!("shop_{}", NUMBER.fetch_add(1, Relaxed));
        admin.await.unwrap().execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(6).connect_with(options.database(&name)).await.unwrap();
        Some(Self { pool })
    }
}

/// The port of the cluster, or none where PostgreSQL isn't installed.
async fn start() -> Option<u16> {
    let Some(bin) = bin() else {
        assert!(env::var_os("BUTTRESS_REQUIRE_POSTGRES").is_none(), "PostgreSQL isn't installed: no initdb was found");
        // Past the capture of the tests' output, which is shown for failures only.
        let _ = io::stderr().write_all(b"\n*** SKIPPED: tests on PostgreSQL, for no initdb was found ***\n");
        return None;
    };
    let folder = folder();
    let data = folder.join("data");
    let initdb = as_postgres(&bin.join("initdb"))
        .args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = as_postgres(&bin.join("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    server.args(["-c", "fsync=off", "-c", "max_connections=400"]).stdout(Stdio::null()).stderr(Stdio::null());
    // It is told to die with the thread that started it, so that thread stays.
    thread::spawn(move || server.spawn().unwrap().wait());
    let address = ("127.0.0.1", port);
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(address).await.is_ok() && is_up(port).await {
            return Some(port);
        }
        // Nothing tells when another process listens.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("PostgreSQL didn't come up in ten seconds");
}

async fn is_up(port: u16) -> bool {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("postgres");
    PgPoolOptions::new().max_connections(1).connect_with(options.database("postgres")).await.is_ok()
}

/// Where `initdb` and `postgres` are: Debian keeps them out of the path.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = versions.map(|version| version.join("bin")).collect();
    places.sort();
    places.extend(env::split_paths(&path));
    places.into_iter().rev().find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}

/// A folder for the cluster. Those of earlier runs are removed, for nobody is left to do it when a run ends.
fn folder() -> PathBuf {
    const PREFIX: &str = "buttress-postgres-";
    for entry in fs::read_dir(env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    if is_root() {
        let status = Command::new("chown").arg("postgres:postgres").arg(&folder).status();
        assert!(status.unwrap().success(), "chown to postgres");
    }
    folder
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0)
}
