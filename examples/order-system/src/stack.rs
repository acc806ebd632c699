//! The layers around every call, and the only file that names them.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use buttress::bulkhead::Bulkhead;
use buttress::protocol::Grpc;
use buttress::standard::Handles;
use buttress::{BulkheadLayer, Deadline, Elapsed, Rejection, TimeoutLayer, standard};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::transport::{Channel, Endpoint};
use tower::ServiceBuilder;
use tower::layer::util::Stack;
use tower::util::BoxCloneSyncService;

use crate::call::{NoAnswer, Reason};
use crate::sent::{Count, Judge};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Everything a server does for one request.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// How many requests a server works on.
const SERVED_AT_ONCE: usize = 64;

/// A client of a REST service, behind its layers.
pub(crate) type HttpClient = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, NoAnswer>;

/// A client of a gRPC service, behind its layers.
pub(crate) type GrpcClient = BoxCloneSyncService<Request<tonic::body::Body>, Response<tonic::body::Body>, NoAnswer>;

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// The other side looks something up or writes it down.
    Usual,
    /// The other side makes calls of its own: two for an order, and two more to undo it.
    WholeOrder,
}

impl Patience {
    /// One attempt.
    fn attempt(self) -> Duration {
        Duration::from_secs(match self {
            Self::Usual => 1,
            Self::WholeOrder => 8,
        })
    }

    /// The whole call with all its attempts.
    fn total(self) -> Duration {
        Duration::from_secs(match self {
            Self::Usual => 3,
            Self::WholeOrder => 9,
        })
    }
}

/// The handles of a service's layers: what they can be asked.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Around its clients.
    pub(crate) stacks: Vec<Handles>,
    /// Before its routes.
    pub(crate) inbound: Vec<Bulkhead>,
}

/// A client of a REST service whose layers go by `name`.
pub(crate) fn http(name: &'static str, patience: Patience, watch: &mut Watch) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);

    let layers = standard::http(name)
        .timeout(|timeout| timeout.within(patience.total()))
        .attempt_timeout(|timeout| timeout.within(patience.attempt()));
    watch.stacks.push(layers.handles());
    let counted = Count::new(client, legacy::Error::is_connect);
    let guarded = ServiceBuilder::new().layer(layers).service(counted);
    BoxCloneSyncService::new(Judge::new(guarded, |answer, sent| {
        judged(answer, sent).map(|answer| answer.map(Body::new))
    }))
}

/// A client of the gRPC service at `address` whose layers go by `name`. Connects when first called.
pub(crate) fn grpc(
    name: &'static str,
    address: SocketAddr,
    watch: &mut Watch,
) -> Result<GrpcClient, tonic::transport::Error> {
    let channel: Channel =
        Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(CONNECT_WITHIN).connect_lazy();

    let layers = standard::grpc(name)
        .timeout(|timeout| timeout.within(Patience::Usual.total()))
        .attempt_timeout(|timeout| timeout.within(Patience::Usual.attempt()));
    watch.stacks.push(layers.handles());
    let counted = Count::new(channel, is_refused);
    let guarded = ServiceBuilder::new().layer(layers).service(counted);
    let open = |answer: Response<_>| answer.map(tonic::body::Body::new);
    Ok(BoxCloneSyncService::new(Judge::new(guarded, move |answer, sent| judged(answer, sent).map(open))))
}

/// Protects a server from more than it can do, and from working for who has gone.
pub(crate) fn inbound(name: &'static str, router: Router, watch: &mut Watch) -> Router {
    let bulkhead = BulkheadLayer::http(name).max_concurrent(SERVED_AT_ONCE);
    watch.inbound.push(bulkhead.handle());
    router.layer(bulkhead).layer(TimeoutLayer::http(name).within(SERVED_WITHIN))
}

/// The same for a gRPC server.
pub(crate) fn inbound_grpc(name: &'static str, watch: &mut Watch) -> Stack<BulkheadLayer<Grpc>, TimeoutLayer<Grpc>> {
    let bulkhead = BulkheadLayer::grpc(name).max_concurrent(SERVED_AT_ONCE);
    watch.inbound.push(bulkhead.handle());
    Stack::new(bulkhead, TimeoutLayer::grpc(name).within(SERVED_WITHIN))
}

/// When the caller at hand wants its answer, for a task of its own: by itself that knows nothing of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due(Option<Deadline>);

impl Due {
    pub(crate) fn of_caller() -> Self {
        Self(Deadline::current())
    }

    /// Lets no call in `step` run longer, nor be sent later.
    pub(crate) async fn limit<F: Future>(self, step: F) -> F::Output {
        match self.0 {
            Some(deadline) => deadline.scope(step).await,
            None => step.await,
        }
    }
}

/// The other side's answer; or, when there is none or it is one of our own layers', that there is none.
fn judged<B, E>(answer: Result<Response<B>, E>, sent: bool) -> Result<Response<B>, NoAnswer> {
    let no_answer = |reason| NoAnswer { reason, maybe_done: sent, retry_after: None };
    let answer = answer.map_err(|_| no_answer(Reason::Unreachable))?;
    if let Some(rejection) = answer.extensions().get::<Rejection>() {
        return Err(NoAnswer { retry_after: rejection.retry_after(), ..no_answer(reason(rejection)) });
    }
    if answer.extensions().get::<Elapsed>().is_some() {
        return Err(no_answer(Reason::TimedOut));
    }
    Ok(answer)
}

/// From a client that can't even be made ready.
impl From<legacy::Error> for NoAnswer {
    fn from(_: legacy::Error) -> Self {
        Self::not_sent(Reason::Unreachable, None)
    }
}

/// From a channel that can't even be made ready.
impl From<tonic::transport::Error> for NoAnswer {
    fn from(_: tonic::transport::Error) -> Self {
        Self::not_sent(Reason::Unreachable, None)
    }
}

fn reason(rejection: &Rejection) -> Reason {
    match rejection.reason() {
        buttress::Reason::CircuitOpen => Reason::CircuitOpen,
        buttress::Reason::DeadlinePassed => Reason::TimedOut,
        _ => Reason::Overloaded,
    }
}

/// Nobody listens there, so nothing was sent. tonic hides this deep in the error's sources.
fn is_refused(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
