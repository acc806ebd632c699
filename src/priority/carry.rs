//! How a request carries its priority.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};

use crate::{
    priority::Priority,
    protocol::{Grpc, Http, Plain},
};

/// The header of an HTTP request, and the metadata of a gRPC one, that says how much it matters:
/// `x-request-priority: sheddable`.
///
/// One of `critical-plus`, `critical`, `sheddable-plus` and `sheddable`. A value that can't be read is ignored, as if it
/// weren't there. Whoever sends it is believed: take it off what comes from strangers.
pub const REQUEST_PRIORITY: HeaderName = HeaderName::from_static("x-request-priority");

/// How the requests of a protocol carry their priority.
///
/// Beside the request there is always the task: [`Priority::current`].
pub trait CarryPriority<Req> {
    /// The priority `request` came with.
    fn inherited(&self, request: &Req) -> Option<Priority>;

    /// Sends `priority` along with `request`.
    fn carry(&self, request: &mut Req, priority: Priority);
}

/// Carries it in the task alone, for nothing is known of the request.
impl<Req, C> CarryPriority<Req> for Plain<C> {
    fn inherited(&self, _request: &Req) -> Option<Priority> {
        None
    }

    fn carry(&self, _request: &mut Req, _priority: Priority) {}
}

/// Carries it in the extensions, and over the wire as [`REQUEST_PRIORITY`].
impl<B, C> CarryPriority<Request<B>> for Http<C> {
    fn inherited(&self, request: &Request<B>) -> Option<Priority> {
        read(request.headers(), request.extensions())
    }

    fn carry(&self, request: &mut Request<B>, priority: Priority) {
        write(request, priority);
    }
}

/// Carries it in the extensions, and over the wire as metadata called [`REQUEST_PRIORITY`].
impl<B, C> CarryPriority<Request<B>> for Grpc<C> {
    fn inherited(&self, request: &Request<B>) -> Option<Priority> {
        read(request.headers(), request.extensions())
    }

    fn carry(&self, request: &mut Request<B>, priority: Priority) {
        write(request, priority);
    }
}

/// What a layer of this process has said goes before what came over the wire.
fn read(headers: &HeaderMap, extensions: &Extensions) -> Option<Priority> {
    let written = || Priority::parse(headers.get(REQUEST_PRIORITY)?.as_bytes());
    extensions.get().copied().or_else(written)
}

fn write<B>(request: &mut Request<B>, priority: Priority) {
    request.headers_mut().insert(REQUEST_PRIORITY, HeaderValue::from_static(priority.as_str()));
    match request.extensions_mut().get_mut() {
        // In place where there is one already, for inserting allocates.
        Some(kept) => *kept = priority,
        None => {
            request.extensions_mut().insert(priority);
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_in_both_protocols() {
        for priority in Priority::ALL {
            let (mut http, mut grpc) = (Request::new(()), Request::new(()));
            Http::new(()).carry(&mut http, priority);
            Grpc::new(()).carry(&mut grpc, priority);
            // As it arrives over the wire: without extensions.
            http.extensions_mut().clear();
            grpc.extensions_mut().clear();
            assert_eq!(Http::new(()).inherited(&http), Some(priority));
            assert_eq!(Grpc::new(()).inherited(&grpc), Some(priority));
        }
    }

    #[test]
    fn what_cannot_be_read_is_ignored_and_an_extension_goes_first() {
        let mut request = Request::new(());
        assert_eq!(Http::new(()).inherited(&request), None);
        for unreadable in ["", "urgent", "1", "critical plus", "critical,sheddable", "\u{e9}"] {
            request.headers_mut().insert(REQUEST_PRIORITY, HeaderValue::from_bytes(unreadable.as_bytes()).unwrap());
            assert_eq!(Http::new(()).inherited(&request), None, "{unreadable:?}");
        }
        request.headers_mut().insert(REQUEST_PRIORITY, HeaderValue::from_static("Sheddable-Plus"));
        assert_eq!(Http::new(()).inherited(&request), Some(Priority::SheddablePlus));
        request.extensions_mut().insert(Priority::CriticalPlus);
        assert_eq!(Http::new(()).inherited(&request), Some(Priority::CriticalPlus));
    }
}
