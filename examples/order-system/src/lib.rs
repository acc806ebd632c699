//! The order system: four services on loopback that talk only over the network, every call through
//! the layers of [`buttress`]. The binary is the way in; this library is there so that tests can
//! start the same system in their own process.

/// Prints a line, and lives on when nobody reads: `| head` must not cut an order off.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

mod call;
mod data_dir;
mod db;
mod demo;
mod histogram;
mod live;
mod load;
mod metrics;
mod report;
mod running;
mod seed;
mod service;
mod stack;
mod system;
mod web;

pub mod audit;
pub mod cli;
pub mod gateway;
pub mod inventory;
pub mod orders;
pub mod payments;
pub mod wire;

pub use data_dir::DataDir;
pub use running::{Running, StartError};
pub use seed::BadSeed;
pub use system::{Port, System};
