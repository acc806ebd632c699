//! Which attempt a request is.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of an HTTP request that is sent again: how many attempts there were before it. The first attempt has
/// none. Means for HTTP what [`GRPC_PREVIOUS_ATTEMPTS`] means for gRPC.
pub const HTTP_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("x-previous-attempts");

/// gRPC's header for how many attempts there were before this one (gRPC proposal A6). The first attempt has none.
pub const GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// Which attempt a request is.
///
/// Rides in the extensions of each attempt after the first, for the layers below; a service reads it from the headers
/// of what it receives, to log it, or to answer a request that has been tried before in a cheaper way.
///
/// ```
/// use buttress::repeat::Attempt;
///
/// let request = http::Request::get("/orders/1").header("x-previous-attempts", "2").body(()).unwrap();
/// assert_eq!(Attempt::from_headers(request.headers()).number(), 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attempt {
    previous: u32,
}

impl Attempt {
    /// The first attempt.
    pub const FIRST: Self = Self { previous: 0 };

    /// The attempt after so many others.
    pub const fn after(previous: u32) -> Self {
        Self { previous }
    }

    /// Reads [`GRPC_PREVIOUS_ATTEMPTS`] or [`HTTP_PREVIOUS_ATTEMPTS`]. Absent or unreadable, it is the first attempt.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let value = headers.get(GRPC_PREVIOUS_ATTEMPTS).or_else(|| headers.get(HTTP_PREVIOUS_ATTEMPTS));
        let previous = value.and_then(|value| value.to_str().ok()?.parse().ok());
        previous.map_or(Self::FIRST, Self::after)
    }

    /// How many attempts there were before.
    pub const fn previous(self) -> u32 {
        self.previous
    }

    /// Counted from 1.
    pub const fn number(self) -> u32 {
        self.previous.saturating_add(1)
    }

    /// Whether there was no attempt before.
    pub const fn is_first(self) -> bool {
        self.previous == 0
    }

    /// Marks a request that is sent for the `retries + 1`st time from here. One that came here as somebody's retry
    /// already is counted on from there.
    pub(super) fn mark(head: &mut http::request::Parts, header: HeaderName, retries: u32) {
        let attempt = Self::after(Self::from_headers(&head.headers).previous.saturating_add(retries));
        head.headers.insert(header, HeaderValue::from(attempt.previous));
        head.extensions.insert(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_a_first_attempt() {
        for (value, previous) in [("1", 1), ("4294967295", u32::MAX), ("4294967296", 0), ("-1", 0), ("", 0), ("x", 0)] {
            for header in [HTTP_PREVIOUS_ATTEMPTS, GRPC_PREVIOUS_ATTEMPTS] {
                let headers = HeaderMap::from_iter([(header, HeaderValue::from_static(value))]);
                assert_eq!(Attempt::from_headers(&headers).previous(), previous, "{value:?}");
            }
        }
        assert!(Attempt::from_headers(&HeaderMap::new()).is_first());
        assert_eq!(Attempt::after(u32::MAX).number(), u32::MAX);
    }
}
