//! The order system over loopback sockets, as a user would see it.
#![allow(missing_docs, unreachable_pub)]

mod bad_input;
mod binary;
mod cancel;
mod flow;
mod idempotency;
mod inventory;
mod kill;
mod metrics;
mod payments;
mod processes;
mod service;
mod support;
mod undo;
mod verdict;
mod view;
