//! What the layers do to a service under overload: the real layers around a simulated service, in virtual time.
//!
//! Calls arrive when they like, however the service is doing (an open loop, Poisson arrivals), and each has a client that
//! waits for so long and no longer. The service has some workers and an unbounded queue before them, as real ones have,
//! and does what it was asked for also when nobody waits for it any more. What counts is *goodput*: answers a second
//! that came in time.
//!
//! Time is tokio's, paused, in a runtime of one thread; all chance comes from a seed, that of the layers too. So the same
//! seed gives the same report to the byte, and minutes of overload take a second.

pub mod chart;
pub mod run;
pub mod scenario;
pub mod service;
pub mod stack;
