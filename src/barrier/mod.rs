//! The participant's half.

mod answer;
mod course;
mod event;
mod extract;
mod guard;
mod layer;
mod open;
mod stop;
mod store;
mod tx;

pub use self::{
    guard::{Barrier, LARGEST_ANSWER},
    layer::{BarrierLayer, BarrierService},
    stop::{AnswerError, Refusal, Stop},
    store::{POSTGRES_TABLE, SQLITE_TABLE, Store},
    tx::Tx,
};
