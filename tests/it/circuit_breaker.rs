//! The circuit breaker layer, in dialogue.
