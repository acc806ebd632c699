//! The order system: four services on loopback that talk only over the network, every call through
//! the layers of [`buttress`]. The binary is the way in; this library is there so that tests can
//! start the same system in their own process.

mod call;
mod data_dir;
mod db;
mod demo;
mod histogram;
mod live;
mod load;
mod report;
mod running;
mod seed;
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
