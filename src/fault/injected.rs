//! How an injected failure says that it is one.

use std::{error::Error, fmt};

use crate::{BoxError, fault::config::Fault, name::Name};

/// This failure was injected by a fault layer; nothing is broken.
///
/// In the plain flavour it is the error, or somewhere among its sources: [`Injected::find`]. In the HTTP and gRPC
/// flavours it rides in the response's extensions, and is the error of a body that breaks off. Layers further out judge
/// it like the real thing: it is neither a [`Rejection`](crate::Rejection) nor an [`Elapsed`](crate::Elapsed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    name: Name,
    fault: Fault,
    call: u64,
}

impl Injected {
    pub(super) fn new(name: Name, fault: Fault, call: u64) -> Self {
        Self { name, fault, call }
    }

    /// The one among `error` and its sources, if there is one.
    pub fn find(error: &BoxError) -> Option<&Self> {
        crate::protocol::cause::find(&**error)
    }

    /// The fault layer's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What went wrong.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The number of the call with which it went wrong, counted from 0.
    pub fn call(&self) -> u64 {
        self.call
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: injected fault ({})", self.name, self.fault.as_str())
    }
}

impl Error for Injected {}
