//! Collects what calls tell, and now and then lets the course decide.

use std::{
    sync::{OnceLock, TryLockError},
    time::Duration,
};

use crate::{
    bulkhead::adaptive::{
        Adaptive,
        course::{Change, Course},
        samples::Samples,
    },
    outcome::{Cause, Outcome},
    protocol::grpc::Code,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// What a bulkhead needs for an adaptive limit. One that was never given an adaptive limit has an empty cell.
///
/// A call that ends writes to `samples`, which is lock-free. The one that finds the window over tries the lock, and moves
/// on if somebody else has it: there is only one decision to make.
#[derive(Debug, Default)]
pub(in crate::bulkhead) struct Limiter {
    active: OnceLock<Box<Active>>,
}

#[derive(Debug)]
struct Active {
    samples: Samples,
    /// When the window is over, in nanoseconds after the bulkhead was made.
    over: AtomicU64,
    min_samples: AtomicU64,
    /// None while the limit is fixed.
    course: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    course: Course,
    began: Duration,
    begins_at: usize,
}

impl Limiter {
    /// Begins, changes or ends the adaptation. `begin` is where the limit begins; a limit that is adaptive already goes
    /// on from where it is, unless another beginning is asked for. `set_limit` is told where it is now, under the lock
    /// under which it changes.
    pub(in crate::bulkhead) fn set(
        &self,
        adaptive: Option<&Adaptive>,
        begin: usize,
        now: Duration,
        set_limit: impl FnOnce(u32),
    ) {
        let Some(settings) = adaptive else {
            if let Some(active) = self.active.get() {
                *lock(&active.course) = None;
            }
            return set_limit(begin as u32);
        };
        let active = self.active.get_or_init(Box::default);
        let mut course = lock(&active.course);
        match course.as_mut().filter(|running| running.begins_at == begin) {
            Some(running) if running.course.settings() == settings => {}
            Some(running) => running.course.steer(settings.clone()),
            None => {
                active.samples.take(Duration::ZERO);
                *course = Some(Running { course: Course::new(settings.clone(), begin), began: now, begins_at: begin });
            }
        }
        if let Some(running) = course.as_ref() {
            active.min_samples.store(settings.min_samples as u64, Ordering::Relaxed);
            active.over.store((running.began + settings.window).as_nanos() as u64, Ordering::Relaxed);
            set_limit(running.course.limit());
        }
    }

    /// A call has ended. If with it a window has, and the limit moves, `set_limit` is told so under the lock, and the
    /// change is returned.
    pub(in crate::bulkhead) fn record(
        &self,
        outcome: Outcome,
        took: Duration,
        inside: u32,
        now: Duration,
        set_limit: impl FnOnce(u32),
    ) -> Option<Change> {
        let active = self.active.get()?;
        match Load::of(outcome) {
            Load::Success => active.samples.success(took, inside),
            Load::Drop => active.samples.drop(inside),
            Load::Nothing => return None,
        }
        if (now.as_nanos() as u64) < active.over.load(Ordering::Relaxed)
            || active.samples.calls() < active.min_samples.load(Ordering::Relaxed)
        {
            return None;
        }
        active.decide(now, set_limit)
    }
}

impl Active {
    #[cold]
    fn decide(&self, now: Duration, set_limit: impl FnOnce(u32)) -> Option<Change> {
        let mut course = match self.course.try_lock() {
            Ok(course) => course,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let running = course.as_mut()?;
        // Somebody else may just have decided.
        if (now.as_nanos() as u64) < self.over.load(Ordering::Relaxed) {
            return None;
        }
        let window = self.samples.take(now.saturating_sub(running.began));
        let over = now + running.course.settings().window;
        running.began = now;
        self.over.store(over.as_nanos() as u64, Ordering::Relaxed);
        let change = running.course.update(&window);
        if let Some(change) = change {
            set_limit(change.after);
        }
        change
    }
}

impl Default for Active {
    fn default() -> Self {
        Self {
            samples: Samples::new(),
            over: AtomicU64::new(0),
            min_samples: AtomicU64::new(0),
            course: Mutex::new(None),
        }
    }
}

/// What an outcome says of how much there is to do.
#[derive(Debug, PartialEq, Eq)]
enum Load {
    Success,
    Drop,
    Nothing,
}

impl Load {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Overload(_) => Self::Drop,
            Outcome::Failure(fault) if ran_out_of_time_or_room(fault.cause) => Self::Drop,
            // A failure may be quick or slow for reasons of its own.
            Outcome::Failure(_) | Outcome::Ignored => Self::Nothing,
        }
    }
}

fn ran_out_of_time_or_room(cause: Cause) -> bool {
    match cause {
        Cause::TimedOut | Cause::Hung => true,
        Cause::Io(kind) => kind == std::io::ErrorKind::TimedOut,
        Cause::Status(status) => matches!(status.as_u16(), 429 | 503 | 504),
        Cause::Grpc(code) => matches!(code, Code::DeadlineExceeded | Code::ResourceExhausted),
        _ => false,
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn timeouts_and_overload_are_drops_and_other_failures_are_nothing() {
        let drops = [
            Outcome::failure(Cause::TimedOut),
            Outcome::failure(Cause::Status(StatusCode::GATEWAY_TIMEOUT)),
            Outcome::failure(Cause::Status(StatusCode::SERVICE_UNAVAILABLE)),
            Outcome::failure(Cause::Grpc(Code::DeadlineExceeded)),
            Outcome::overload(Cause::Status(StatusCode::TOO_MANY_REQUESTS)),
            Outcome::overload(Cause::Grpc(Code::ResourceExhausted)),
        ];
        for outcome in drops {
            assert_eq!(Load::of(outcome), Load::Drop, "{outcome:?}");
        }
        let nothing = [
            Outcome::Ignored,
            Outcome::FAILURE,
            Outcome::failure(Cause::Error),
            Outcome::failure(Cause::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        ];
        for outcome in nothing {
            assert_eq!(Load::of(outcome), Load::Nothing, "{outcome:?}");
        }
        assert_eq!(Load::of(Outcome::Success), Load::Success);
    }
}
