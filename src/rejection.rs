//! A refusal: what it says, and how to find it.

use std::{error::Error, fmt, time::Duration};

use crate::{BoxError, name::Name};

/// A policy refused the call: the inner service was never called, and nothing was sent.
///
/// In the plain flavour it is the error, or somewhere among the error's sources: [`Rejection::find`]. In the HTTP and
/// gRPC flavours the refusal is a response, and this value rides in its
/// [extensions](http::response::Parts::extensions).
///
/// A time that ran out *after* sending is not a rejection but an [`Elapsed`](crate::Elapsed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    policy: &'static str,
    name: Name,
    reason: Reason,
    retry_after: Option<Duration>,
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A circuit breaker is open, or its probes are all given out.
    CircuitOpen,
    /// A bulkhead has no permit left and calls do not queue.
    BulkheadFull,
    /// A bulkhead's queue has no place left.
    QueueFull,
    /// The call waited in a bulkhead's queue for as long as a call may.
    WaitExpired,
    /// A rate limit has let through all it may for now; or the call weighs more than it ever may.
    RateLimited,
    /// The call's deadline had passed before it was sent.
    DeadlinePassed,
    /// The process is shutting down, and begins nothing new.
    ShuttingDown,
}

impl Rejection {
    /// A refusal by the `policy` called `name`.
    pub fn new(policy: &'static str, name: impl Into<Name>, reason: Reason) -> Self {
        Self { policy, name: name.into(), reason, retry_after: None }
    }

    /// Says when another call may be worth while.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: impl Into<Option<Duration>>) -> Self {
        self.retry_after = retry_after.into();
        self
    }

    /// The rejection among `error` and its sources, if there is one.
    pub fn find(error: &BoxError) -> Option<&Self> {
        Self::find_in(&**error)
    }

    /// As [`find`](Self::find), for an error that is not boxed.
    pub fn find_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        crate::protocol::cause::find(error)
    }

    /// The kind of policy: `circuit_breaker`, `bulkhead`, `rate_limit`, `timeout`, `saga`.
    pub fn policy(&self) -> &'static str {
        self.policy
    }

    /// The policy's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Why the call was refused.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// When another call may be worth while, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What to tell a caller over the wire: a second where nothing better is known, so that nobody comes back at once;
    /// nothing to a caller whose own time was up.
    pub(crate) fn advised_wait(&self) -> Option<Duration> {
        match self.reason {
            Reason::DeadlinePassed => None,
            _ => Some(self.retry_after.unwrap_or(Duration::from_secs(1))),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl Error for Rejection {}

// ===== impl Reason =====

impl Reason {
    /// The reason as a label of a metric or a field of a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::QueueFull => "queue_full",
            Self::WaitExpired => "wait_expired",
            Self::RateLimited => "rate_limited",
            Self::DeadlinePassed => "deadline_passed",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CircuitOpen => "circuit open",
            Self::BulkheadFull => "bulkhead full",
            Self::QueueFull => "bulkhead queue full",
            Self::WaitExpired => "waited too long for a permit",
            Self::RateLimited => "rate limit exceeded",
            Self::DeadlinePassed => "deadline passed before the call was sent",
            Self::ShuttingDown => "shutting down",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(BoxError);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("could not look up")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn is_found_however_deep_it_lies() {
        let rejection =
            Rejection::new("circuit_breaker", "lookup", Reason::CircuitOpen).with_retry_after(Duration::from_secs(3));
        let error: BoxError = Wrapped(Wrapped(rejection.clone().into()).into()).into();
        assert_eq!(Rejection::find(&error), Some(&rejection));
        assert_eq!(rejection.to_string(), "lookup: circuit open");
        assert_eq!(Rejection::find(&"something else".into()), None);
    }
}
