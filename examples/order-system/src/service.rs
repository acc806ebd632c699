//! `service`: one service as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::net::TcpListener;

use crate::chaos::Chaos;
use crate::cli::{interrupted, share};
use crate::data_dir::DataDir;
use crate::payments::Faults;
use crate::running::{Running, StartError};
use crate::{gateway, inventory, orders, payments};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    Gateway,
    Orders,
    Inventory,
    Payments,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which.
    name: Name,
    /// Where it listens; port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where its database is. The gateway has none.
    #[arg(long, value_name = "DIR", required_if_eq_any = [("name", "orders"), ("name", "inventory"), ("name", "payments")])]
    data: Option<PathBuf>,
    /// Where inventory listens: http://127.0.0.1:4711, for orders and the gateway.
    #[arg(long, value_name = "URL", value_parser = address, required_if_eq_any = [("name", "orders"), ("name", "gateway")])]
    inventory: Option<SocketAddr>,
    /// Where payments listens, for orders and the gateway.
    #[arg(long, value_name = "URL", value_parser = address, required_if_eq_any = [("name", "orders"), ("name", "gateway")])]
    payments: Option<SocketAddr>,
    /// Where orders listens, for the gateway.
    #[arg(long, value_name = "URL", value_parser = address, required_if_eq("name", "gateway"))]
    orders: Option<SocketAddr>,
    /// The share of charges that fail, for payments.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    fail_payments: f64,
    /// The share of requests that go wrong on the way, for inventory and payments.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    chaos: f64,
    /// Draw those from this seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs it until it is told to stop; then it finishes what it has begun.
pub(crate) async fn run(options: Options) -> Result<(), StartError> {
    let running = options.start().await?;
    say!("{} listening on {}", running.name(), running.address());
    interrupted().await;
    running.stop().await;
    Ok(())
}

impl Options {
    async fn start(self) -> Result<Running, StartError> {
        let listener = TcpListener::bind(self.listen).await.map_err(|error| format!("{}: {error}", self.listen))?;
        let data = || DataDir::at(self.data.clone().ok_or("--data is missing")?).map_err(StartError::from);
        let inventory = self.inventory.ok_or("--inventory is missing");
        let payments = self.payments.ok_or("--payments is missing");
        match self.name {
            Name::Inventory => {
                let database = data()?.database("inventory");
                let chaos = Chaos::new(self.chaos, self.seed)?;
                inventory::start(listener, inventory::Settings { database, chaos }).await
            }
            Name::Payments => {
                let database = data()?.database("payments");
                let faults = Faults::new(self.fail_payments, self.seed)?;
                let chaos = Chaos::new(self.chaos, self.seed)?;
                payments::start(listener, payments::Settings { database, faults, chaos }).await
            }
            Name::Orders => {
                let data = data()?;
                let settings = orders::Settings {
                    database: data.database("orders"),
                    journal: data.journal(),
                    inventory: inventory?,
                    payments: payments?,
                };
                orders::start(listener, settings).await
            }
            Name::Gateway => {
                let orders = self.orders.ok_or("--orders is missing")?;
                let settings = gateway::Settings { orders, payments: payments?, inventory: inventory? };
                gateway::start(listener, settings).await
            }
        }
    }
}

/// An address, as a URL or bare.
fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    bare.parse().map_err(|_| "must be like http://127.0.0.1:4711, with an address and a port".to_owned())
}
