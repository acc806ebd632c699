//! The services as processes of their own, which can be killed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use order_system::DataDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::PATIENCE;

/// One service. Dropped, it is killed.
pub struct Process {
    child: Child,
    address: SocketAddr,
    arguments: Vec<String>,
    // Held to the end: a child that can't print would see its pipe broken.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub async fn start(name: &str, data: &DataDir, more: &[&str]) -> Self {
        let data = data.path().to_str().unwrap();
        let arguments = ["service", name, "--data", data].iter().chain(more).map(|text| (*text).to_owned()).collect();
        Self::listening_at("127.0.0.1:0".parse().unwrap(), arguments).await
    }

    async fn listening_at(address: SocketAddr, arguments: Vec<String>) -> Self {
        let mut child = order_system()
            .args(&arguments)
            .args(["--listen", &address.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, stdout.next_line()).await.expect("it says nothing").unwrap();
        let first = first.unwrap_or_else(|| panic!("{arguments:?} ended before it was ready"));
        let address = first.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(first, format!("{} listening on {address}", arguments[1]));
        Self { child, address, arguments, _stdout: stdout }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As if the power failed, and at once again: SIGKILL, and the same service at the same address.
    pub async fn kill_and_restart(&mut self) {
        self.child.kill().await.unwrap();
        *self = Self::listening_at(self.address, std::mem::take(&mut self.arguments)).await;
    }

    /// SIGTERM, and what it came to.
    pub async fn stop(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        timeout(PATIENCE * 2, self.child.wait()).await.expect("it doesn't end").unwrap()
    }
}

/// The three services that keep books.
pub struct Fleet {
    pub data: DataDir,
    pub inventory: Process,
    pub payments: Process,
    pub orders: Process,
}

impl Fleet {
    pub async fn start(payments: &[&str]) -> Self {
        Self::start_with(&[], payments).await
    }

    pub async fn start_with(inventory: &[&str], payments: &[&str]) -> Self {
        let data = DataDir::temporary().unwrap();
        let inventory = Process::start("inventory", &data, inventory).await;
        let payments = Process::start("payments", &data, payments).await;
        let callees = ["--inventory", &inventory.url(), "--payments", &payments.url()];
        let orders = Process::start("orders", &data, &callees).await;
        Self { data, inventory, payments, orders }
    }

    /// Ends them in order and gives what is left: the books.
    pub async fn stop(self) -> DataDir {
        for process in [self.orders, self.payments, self.inventory] {
            let arguments = process.arguments.clone();
            assert_eq!(process.stop().await.code(), Some(0), "{arguments:?}");
        }
        self.data
    }
}

pub fn order_system() -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_order-system")));
    command.kill_on_drop(true);
    command
}

/// What `order-system audit` says.
pub async fn audited(data: &DataDir) -> (Option<i32>, String) {
    let output = order_system().args(["audit", "--data", data.path().to_str().unwrap()]).output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}
