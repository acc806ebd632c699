//! Starts and stops the four services. What it hands from one to another is addresses.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::chaos::Chaos;
use crate::data_dir::DataDir;
use crate::payments::Faults;
use crate::running::{Running, StartError};
use crate::{gateway, inventory, orders, payments};

/// Where the gateway listens.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// This one if it is free, else any.
    Preferred(u16),
    /// This one or none.
    Exactly(u16),
}

/// All four services, running.
#[derive(Debug)]
pub struct System {
    gateway: Running,
    orders: Running,
    inventory: Running,
    payments: Running,
}

impl System {
    /// Starts them, those that are called before those that call.
    ///
    /// # Errors
    ///
    /// A port can't be had, a database can't be opened, or a data file can't be read.
    pub async fn start(data: &DataDir, port: Port, faults: Faults, chaos: Chaos) -> Result<Self, StartError> {
        let database = data.database("inventory");
        let inventory =
            inventory::start(any_port().await?, inventory::Settings { database, chaos: chaos.clone() }).await?;
        let database = data.database("payments");
        let payments = payments::start(any_port().await?, payments::Settings { database, faults, chaos }).await?;
        let settings = orders::Settings {
            database: data.database("orders"),
            journal: data.journal(),
            inventory: inventory.address(),
            payments: payments.address(),
        };
        let orders = orders::start(any_port().await?, settings).await?;
        let settings = gateway::Settings {
            orders: orders.address(),
            payments: payments.address(),
            inventory: inventory.address(),
        };
        let gateway = gateway::start(port.listen().await?, settings).await?;
        Ok(Self { gateway, orders, inventory, payments })
    }

    /// The address for customers.
    #[must_use]
    pub fn gateway(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// All services, the gateway first.
    pub fn services(&self) -> impl Iterator<Item = &Running> {
        [&self.gateway, &self.orders, &self.inventory, &self.payments].into_iter()
    }

    /// Stops them, those that call before those that are called.
    pub async fn stop(self) {
        let Self { gateway, orders, inventory, payments } = self;
        for service in [gateway, orders, inventory, payments] {
            service.stop().await;
        }
    }
}

impl Port {
    async fn listen(self) -> std::io::Result<TcpListener> {
        match self {
            Self::Exactly(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await,
            Self::Preferred(port) => match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => Ok(listener),
                Err(_) => any_port().await,
            },
        }
    }
}

async fn any_port() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}
