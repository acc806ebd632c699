//! What every call looks at, and what it carries: a word each.

use std::{fmt, num::NonZeroU64, time::Duration};

use super::{
    config::{CircuitBreakerConfig, WhenOpen, Window},
    event::State,
    state::Machine,
};

/// What every call looks at, in one word: the generation, the number of the window, flags and phase. A closed breaker
/// with a count window and a failure rate, the usual one, has neither phase nor flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u64);

const PHASES: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];
const PHASE: u64 = 0b111;
pub(super) const SHADOW: u64 = 1 << 3;
pub(super) const PAUSES: u64 = 1 << 4;
pub(super) const SLOW_CALLS: u64 = 1 << 5;
const IN_A_ROW: u64 = 1 << 6;
const TIMED: u64 = 1 << 7;
const WINDOW: u32 = 8;
/// Closed of late, and not yet letting all through.
pub(super) const RAMPING: u64 = 1 << 16;
const GENERATION: u32 = 32;

impl Status {
    pub(super) fn of(machine: &Machine, window: u8) -> Self {
        let CircuitBreakerConfig { when_open, slow_calls, consecutive_failures, window: kind, .. } = &machine.config;
        let flag = |flag: u64, set: bool| if set { flag } else { 0 };
        let phase = PHASES.iter().position(|phase| *phase == machine.phase()).unwrap_or_default();
        Self(
            (u64::from(machine.generation) << GENERATION)
                | (u64::from(window) << WINDOW)
                | flag(SHADOW, machine.shadow)
                | flag(PAUSES, *when_open == WhenOpen::Pause)
                | flag(SLOW_CALLS, slow_calls.is_some())
                | flag(IN_A_ROW, consecutive_failures.is_some())
                | flag(TIMED, matches!(kind, Window::Time(_)))
                | flag(RAMPING, machine.ramp().is_some())
                | phase as u64,
        )
    }

    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 & (0xff | RAMPING) == 0
    }

    /// Whether calls are let through whatever else there is to know, and need no promise of it.
    #[inline]
    pub(super) fn lets_all_through(self) -> bool {
        self.0 & (PHASE | SHADOW | PAUSES | RAMPING) == 0
    }

    #[inline]
    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(super) fn phase(self) -> State {
        PHASES[((self.0 & PHASE) as usize).min(PHASES.len() - 1)]
    }

    #[inline]
    pub(super) fn window(self) -> u8 {
        (self.0 >> WINDOW) as u8
    }

    #[inline]
    pub(super) fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }
}

/// What a call that was let through carries until it ends. The lower half is the status under which it was let through;
/// the upper half is of a probe its number, and of a counted call when it began, in nanoseconds since the breaker was
/// made, or zero if nobody will ask; or one of the values below.
///
/// One number and not two fields, for the compiler then moves it through registers. As a struct it is copied as one
/// piece of memory right after it was written as two, which stalls the processor for longer than all the rest takes.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u128);

/// The call isn't counted.
pub(super) const UNCOUNTED: u64 = u64::MAX;
/// Somebody has already told how the call ended.
const SPENT: u64 = u64::MAX - 1;

/// What the refusal of an open state says of when to come back. One number too, and for the same reason: the nanoseconds
/// until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ComeBack(NonZeroU64);

// ===== impl ComeBack =====

impl ComeBack {
    /// Nobody knows when it is worth while.
    pub(super) const UNKNOWN: Self = Self(NonZeroU64::MAX);

    /// In so many nanoseconds; `None` if that is now.
    #[inline]
    pub(super) fn after(nanos: u64) -> Option<Self> {
        NonZeroU64::new(nanos).map(Self)
    }

    #[inline]
    pub(super) fn retry_after(self) -> Option<Duration> {
        (self != Self::UNKNOWN).then(|| Duration::from_nanos(self.0.get()))
    }
}

// ===== impl Ticket =====

impl Ticket {
    #[inline]
    pub(super) fn new(status: Status, detail: u64) -> Self {
        Self((u128::from(detail) << 64) | u128::from(status.0))
    }

    #[inline]
    pub(super) fn status(self) -> Status {
        Status(self.0 as u64)
    }

    #[inline]
    pub(super) fn detail(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The ticket, and a spent one in its place.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        let ticket = *self;
        *self = Self::new(self.status(), SPENT);
        ticket
    }

    #[inline]
    pub(super) fn is_spent(self) -> bool {
        self.detail() == SPENT
    }

    /// The number of the probe that this is; no two probes of a breaker have the same.
    pub(super) fn probe(self) -> Option<u64> {
        (self.status().phase() == State::HalfOpen && self.detail() != UNCOUNTED).then_some(self.detail())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("status", &self.status()).field("detail", &self.detail()).finish()
    }
}
