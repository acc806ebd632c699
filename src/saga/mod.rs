//! Sagas: transactions over several services, each step of which can be undone.
#![allow(dead_code, unused_imports)]

pub mod journal;
