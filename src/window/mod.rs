//! What happened of late, counted without a lock in fixed memory.

mod ring;

pub(crate) use self::ring::Ring;
