//! What buttress costs beside the other crates that do the same, in one run.
//!
//! `cargo bench -p peers` prints a table, `cargo bench -p peers -- --csv` the same for a machine to read, and
//! `cargo bench -p peers -- retry` the rows with this in their name.
//!
//! Each row begins with buttress; the ratios are peer to buttress, so that above 1 the peer is slower. Each peer is
//! configured to do the same, in the cheapest way that its documentation tells of, and one that has nothing of the kind
//! isn't in the row. What differs nevertheless is said beside it. A service is cloned for each call, as axum does. What
//! has no tower service is in rows of its own, beside buttress without tower, and is shared by reference.
//!
//! Everything is polled once, by hand, and answers at once. What doesn't (a peer waits for a timer's tick before it
//! refuses, and for its own lock when two threads call) is driven by the runtime until it does. Allocations are counted by a wrapper around the system's allocator,
//! which costs those who allocate a nanosecond or two each time.

#[path = "../harness/mod.rs"]
mod harness;
mod rows {
    pub(crate) mod breaker;
    pub(crate) mod bulkhead;
    pub(crate) mod rate_limit;
    pub(crate) mod retry;
    pub(crate) mod stack;
    pub(crate) mod time_window;
    pub(crate) mod timeout;
}
mod call;
mod tower_retry;

use harness::Bench;

fn main() {
    // A worker that turns the wheel of time for those who wait for it. Nothing else runs on it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();

    let mut bench = Bench::from_args();
    rows::breaker::closed(&mut bench);
    rows::breaker::open(&mut bench);
    rows::time_window::rows(&mut bench);
    rows::bulkhead::with_room(&mut bench);
    rows::bulkhead::full(&mut bench);
    rows::retry::rows(&mut bench);
    rows::timeout::rows(&mut bench);
    rows::rate_limit::rows(&mut bench);
    rows::stack::rows(&mut bench);
    bench.run();
}
