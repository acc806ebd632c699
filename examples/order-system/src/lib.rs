//! The order system: four services on loopback that talk only over the network, every call through
//! the layers of [`buttress`]. The binary is the way in; this library is there so that tests can
//! start the same system in their own process.

mod call;
mod db;
mod running;
mod seed;
mod stack;
mod web;

pub mod gateway;
pub mod inventory;
pub mod orders;
pub mod payments;
pub mod wire;

pub use running::{Running, StartError};
pub use seed::BadSeed;
