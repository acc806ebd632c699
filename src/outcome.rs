//! How an exchange ended.

use std::{fmt, io, time::Duration};

use http::StatusCode;

use crate::protocol::grpc::Code;

/// How an exchange ended, as a policy sees it.
///
/// There is no variant for a cancelled exchange: cancelled is an [`Observer`](crate::protocol::Observer) that is
/// dropped without having been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The service did what it is there for.
    Success,
    /// The service failed.
    Failure(Fault),
    /// The service is up and says that it has too much to do (HTTP 429, gRPC RESOURCE_EXHAUSTED). Counts as a failure
    /// in rates, and not towards consecutive failures.
    Overload(Fault),
    /// Says nothing of the service's health: the caller's own fault, or a refusal that never reached the service.
    Ignored,
}

impl Outcome {
    /// A failure of which nothing more is known.
    pub const FAILURE: Self = Self::Failure(Fault { cause: Cause::Unknown, retry_after: None });

    /// A failure with this cause.
    pub const fn failure(cause: Cause) -> Self {
        Self::Failure(Fault { cause, retry_after: None })
    }

    /// An overload with this cause.
    pub const fn overload(cause: Cause) -> Self {
        Self::Overload(Fault { cause, retry_after: None })
    }

    /// What went wrong, if something did.
    pub const fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Failure(fault) | Self::Overload(fault) => Some(fault),
            Self::Success | Self::Ignored => None,
        }
    }

    /// The same outcome, with the wait the server asked for unless one is already set.
    #[must_use]
    pub fn or_retry_after(mut self, retry_after: impl FnOnce() -> Option<Duration>) -> Self {
        if let Self::Failure(fault) | Self::Overload(fault) = &mut self
            && fault.retry_after.is_none()
        {
            fault.retry_after = retry_after();
        }
        self
    }
}

/// What is known of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fault {
    /// Why it failed.
    pub cause: Cause,
    /// How long the server asked to be left alone (`Retry-After`, `grpc-retry-pushback-ms`).
    pub retry_after: Option<Duration>,
}

/// Why an exchange failed, small enough to be kept and good enough to be shown to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing more is known.
    #[default]
    Unknown,
    /// An HTTP status.
    Status(StatusCode),
    /// A gRPC status.
    Grpc(Code),
    /// The connection failed, with the operating system's reason.
    Io(io::ErrorKind),
    /// The service answered with an error.
    Error,
    /// The body broke off before its end.
    Body,
    /// The time ran out.
    TimedOut,
    /// It took longer than a slow call may.
    Slow,
    /// It neither ended nor was dropped in the time it was given.
    Hung,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("failure"),
            Self::Status(status) => write!(f, "http {}", status.as_u16()),
            Self::Grpc(code) => write!(f, "grpc {code}"),
            Self::Io(kind) => write!(f, "{kind}"),
            Self::Error => f.write_str("error"),
            Self::Body => f.write_str("body broke off"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Slow => f.write_str("slow call"),
            Self::Hung => f.write_str("no end in time"),
        }
    }
}
