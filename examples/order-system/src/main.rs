//! The order system: the complete order flow on loopback.

fn main() {}
