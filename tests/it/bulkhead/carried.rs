//! A priority goes with the request: into the handler, and over the wire.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use buttress::{
    Priority,
    priority::{CarryPriority, REQUEST_PRIORITY},
    protocol::{Grpc, Http},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt};

use super::*;

type Seen = Arc<Mutex<Vec<(Option<String>, Option<Priority>, Option<Priority>)>>>;

/// Notes the header, the extension and the task's priority of each request.
fn notes(
    seen: &Seen,
) -> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone + use<> {
    let seen = seen.clone();
    tower::service_fn(move |request: Request<()>| {
        let seen = seen.clone();
        async move {
            // In the task while it is polled, and not only when it is called.
            tokio::task::yield_now().await;
            let header = request.headers().get(REQUEST_PRIORITY).map(|value| value.to_str().unwrap().to_owned());
            seen.lock().unwrap().push((header, request.extensions().get().copied(), Priority::current()));
            Ok(Response::new(Full::default()))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_the_layer_says_goes_into_header_extension_and_task() {
    let seen = Seen::default();
    let layer = BulkheadLayer::http("b").priority(|_: &Request<()>| Priority::SheddablePlus);
    layer.layer(notes(&seen)).oneshot(Request::new(())).await.unwrap();
    let layer = BulkheadLayer::grpc("b").priority(|_: &Request<()>| Priority::CriticalPlus);
    layer.layer(notes(&seen)).oneshot(Request::new(())).await.unwrap();
    let everywhere = |priority: Priority| (Some(priority.to_string()), Some(priority), Some(priority));
    assert_eq!(*seen.lock().unwrap(), [Priority::SheddablePlus, Priority::CriticalPlus].map(everywhere));
    assert_eq!(Priority::current(), None);
}

#[tokio::test(start_paused = true)]
async fn what_came_over_the_wire_is_inherited_and_sent_on_by_the_clients_of_the_handler() {
    let seen = Seen::default();
    let inbound = BulkheadLayer::http("in").inherit_priority::<Request<()>>();
    let outbound = BulkheadLayer::grpc("out").inherit_priority::<Request<()>>().layer(notes(&seen));
    let handler = ServiceBuilder::new().layer(inbound).service_fn(move |_: Request<()>| {
        let outbound = outbound.clone();
        async move { outbound.oneshot(Request::new(())).await }
    });
    let mut request = Request::new(());
    request.headers_mut().insert(REQUEST_PRIORITY, "sheddable".parse().unwrap());
    handler.clone().oneshot(request).await.unwrap();
    handler.oneshot(Request::new(())).await.unwrap();
    let headers: Vec<_> = seen.lock().unwrap().iter().map(|(header, ..)| header.clone().unwrap()).collect();
    assert_eq!(headers, ["sheddable", "critical"]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_tells_nothing_apart_leaves_requests_as_they_are() {
    let seen = Seen::default();
    BulkheadLayer::http("b").layer(notes(&seen)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [(None, None, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_in_its_priority_also_after_having_queued() {
    let seen = Seen::default();
    let layer = BulkheadLayer::http("b").max_concurrent(1).max_wait(Duration::from_secs(1));
    let layer = layer.priority(|_: &Request<()>| Priority::SheddablePlus);
    let permit = layer.handle().try_acquire().unwrap();
    let call = tokio::spawn(layer.layer(notes(&seen)).oneshot(Request::new(())));
    tokio::task::yield_now().await;
    assert_eq!(layer.handle().snapshot().waiting, 1);
    drop(permit);
    call.await.unwrap().unwrap();
    assert_eq!(seen.lock().unwrap()[0].2, Some(Priority::SheddablePlus));
}

#[test]
fn each_protocol_carries_it_and_a_plain_request_does_not() {
    let (http, grpc, plain) = (Http::default(), Grpc::default(), Plain::default());
    let mut request = Request::new(());
    http.carry(&mut request, Priority::Sheddable);
    assert_eq!(CarryPriority::<Request<()>>::inherited(&grpc, &request), Some(Priority::Sheddable));
    assert_eq!(plain.inherited(&request), None);
}
