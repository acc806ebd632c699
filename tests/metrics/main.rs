//! What can be seen from outside: a scrape and the events, held to the tables in docs/metrics.md.
//!
//! A process of its own, for there is one recorder a process, and every call of every other test would count for it.

mod caught;
mod cost;
mod counts;
mod events;
mod everything;
mod numbers;
mod scrape;
mod table;
mod wire;
