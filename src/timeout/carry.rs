//! How a request carries its deadline.

use http::{Extensions, HeaderMap, Request};
use tokio::time::Instant;

use crate::{
    deadline::{
        Deadline,
        header::{Format, GrpcTimeout, Millis},
    },
    name::Name,
    protocol::{Grpc, Http, Plain},
    timeout::event,
};

/// How the requests of a protocol carry their deadline.
///
/// Beside the request there is always the task: [`Deadline::current`].
pub trait CarryDeadline<Req> {
    /// The deadline `request` came with. What can't be read is ignored, and an event says so under the policy's `name`.
    fn inherited(&self, request: &Req, now: Instant, name: &Name) -> Option<Deadline>;

    /// Sends `deadline` along with `request`.
    fn carry(&self, request: &mut Req, deadline: Deadline, now: Instant);
}

/// Carries it in the task alone, for nothing is known of the request.
impl<Req, C> CarryDeadline<Req> for Plain<C> {
    fn inherited(&self, _request: &Req, _now: Instant, _name: &Name) -> Option<Deadline> {
        None
    }

    fn carry(&self, _request: &mut Req, _deadline: Deadline, _now: Instant) {}
}

/// Carries it in the extensions, and over the wire as [`REQUEST_TIMEOUT_MS`](crate::timeout::REQUEST_TIMEOUT_MS).
impl<B, C> CarryDeadline<Request<B>> for Http<C> {
    fn inherited(&self, request: &Request<B>, now: Instant, name: &Name) -> Option<Deadline> {
        read::<Millis>(request.headers(), request.extensions(), now, name)
    }

    fn carry(&self, request: &mut Request<B>, deadline: Deadline, now: Instant) {
        Millis::write(request.headers_mut(), deadline.remaining(now));
        keep(request.extensions_mut(), deadline);
    }
}

/// Carries it in the extensions, and over the wire as [`GRPC_TIMEOUT`](crate::timeout::GRPC_TIMEOUT).
impl<B, C> CarryDeadline<Request<B>> for Grpc<C> {
    fn inherited(&self, request: &Request<B>, now: Instant, name: &Name) -> Option<Deadline> {
        read::<GrpcTimeout>(request.headers(), request.extensions(), now, name)
    }

    fn carry(&self, request: &mut Request<B>, deadline: Deadline, now: Instant) {
        GrpcTimeout::write(request.headers_mut(), deadline.remaining(now));
        keep(request.extensions_mut(), deadline);
    }
}

/// The earlier of the extension and the header. A header that an outer layer wrote is stale by the time a retry sends
/// it again, and the extension beside it, a point in time, is not.
fn read<F: Format>(headers: &HeaderMap, extensions: &Extensions, now: Instant, name: &Name) -> Option<Deadline> {
    let written = F::read(headers).unwrap_or_else(|_| {
        event::unreadable(name, &F::HEADER);
        None
    });
    let written = written.map(|left| Deadline::after_at(left, now));
    [extensions.get().copied(), written].into_iter().flatten().min()
}

/// In place where there is one already, for inserting allocates.
fn keep(extensions: &mut Extensions, deadline: Deadline) {
    match extensions.get_mut() {
        Some(kept) => *kept = deadline,
        None => {
            extensions.insert(deadline);
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::timeout::{GRPC_TIMEOUT, REQUEST_TIMEOUT_MS};

    const NAME: &str = "lookup";

    #[tokio::test(start_paused = true)]
    async fn a_stale_header_does_not_outlive_the_extension_beside_it() {
        let (grpc, now) = (Grpc::new(()), Instant::now());
        let mut request = Request::new(());
        grpc.carry(&mut request, Deadline::after_at(Duration::from_millis(200), now), now);
        assert_eq!(request.headers()[GRPC_TIMEOUT], "200000u");

        let later = now + Duration::from_millis(150);
        let inherited = grpc.inherited(&request, later, &NAME.into()).unwrap();
        assert_eq!(inherited.remaining(later), Duration::from_millis(50));
        grpc.carry(&mut request, inherited, later);
        assert_eq!(request.headers()[GRPC_TIMEOUT], "50000000n");
        assert_eq!(request.extensions().get(), Some(&inherited));
    }

    #[tokio::test(start_paused = true)]
    async fn each_protocol_minds_its_own_header_and_none_that_cannot_be_read() {
        let (now, name) = (Instant::now(), NAME.into());
        let mut request = Request::new(());
        request.headers_mut().insert(GRPC_TIMEOUT, HeaderValue::from_static("123456789n"));
        request.headers_mut().insert(REQUEST_TIMEOUT_MS, HeaderValue::from_static("30"));
        assert_eq!(Grpc::new(()).inherited(&request, now, &name), None);
        let inherited = Http::new(()).inherited(&request, now, &name);
        assert_eq!(inherited, Some(Deadline::at(now + Duration::from_millis(30))));
        assert_eq!(Plain::new(()).inherited(&request, now, &name), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_header_does_not_overflow_the_clock() {
        let (now, name) = (Instant::now(), NAME.into());
        let mut request = Request::new(());
        request.headers_mut().insert(GRPC_TIMEOUT, HeaderValue::from_static("99999999H"));
        request.headers_mut().insert(REQUEST_TIMEOUT_MS, HeaderValue::from_static("99999999999999999999"));
        let a_year = Some(Duration::from_secs(366 * 24 * 60 * 60));
        let remaining = |deadline: Option<Deadline>| deadline.map(|deadline| deadline.remaining(now));
        assert_eq!(remaining(Grpc::new(()).inherited(&request, now, &name)), a_year);
        assert_eq!(remaining(Http::new(()).inherited(&request, now, &name)), a_year);
    }
}
