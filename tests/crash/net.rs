//! A network that misbehaves, between the coordinator and a participant: in the parent, so that what it holds back outlives
//! whoever sent it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet, time::sleep};

/// What it does to whatever comes along.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// How likely a request is sent twice, the second time a little later.
    pub(crate) duplicates: f64,
    /// How likely a request is held back, and for how long at most.
    pub(crate) delays: (f64, Duration),
    /// How likely an answer is lost.
    pub(crate) drops: f64,
}

/// A proxy in front of one participant.
#[derive(Debug)]
pub(crate) struct Net {
    shared: Arc<Shared>,
    port: u16,
    climate: Weather,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    weather: Mutex<Weather>,
    chance: Mutex<fastrand::Rng>,
    /// The end of the path of the one request that is held back until it is let go.
    hold: Mutex<Option<&'static str>>,
    held: Notify,
    let_go: Notify,
    /// What the one that was held back was answered in the end.
    late: Mutex<Option<u16>>,
    answered: Notify,
}

type Answer = Response<Collected<Bytes>>;

impl Net {
    /// Begins to pass on to `upstream`, which speaks HTTP/2 only if it is `grpc`.
    pub(crate) async fn before(upstream: String, grpc: bool, seed: u64) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).http2_only(grpc).build(connector);
        let shared = Arc::new(Shared {
            upstream,
            client,
            weather: Mutex::default(),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            hold: Mutex::default(),
            held: Notify::new(),
            let_go: Notify::new(),
            late: Mutex::default(),
            answered: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let accepting = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let shared = Arc::clone(&accepting);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| pass(Arc::clone(&shared), request));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { shared, port, climate: Weather::default(), _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it does when nothing else is said.
    pub(crate) fn is_never_better_than(&mut self, climate: Weather) {
        self.climate = climate;
        self.clears_up();
    }

    pub(crate) fn clears_up(&self) {
        self.turns(self.climate);
    }

    pub(crate) fn turns(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    /// Holds back the next request whose path ends so.
    pub(crate) fn hold(&self, path: &'static str) {
        *self.shared.hold.lock().unwrap() = Some(path);
    }

    /// Waits until it has come.
    pub(crate) async fn has_held(&self) {
        self.shared.held.notified().await;
    }

    /// Lets it go, and returns the status of its answer.
    pub(crate) async fn let_go(&self) -> u16 {
        self.shared.let_go.notify_one();
        self.shared.answered.notified().await;
        self.shared.late.lock().unwrap().unwrap_or_default()
    }
}

/// An error closes the connection, or the stream: whoever sent the request doesn't learn what became of it.
async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, std::io::Error> {
    // On a task of its own, so that it goes on though whoever sent it is gone.
    let passing = tokio::spawn(async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let (weather, chance) = {
            let mut chance = shared.chance.lock().unwrap();
            (*shared.weather.lock().unwrap(), [(); 4].map(|()| chance.f64()))
        };
        let is_held = {
            let mut hold = shared.hold.lock().unwrap();
            hold.take_if(|path| parts.uri.path().ends_with(*path)).is_some()
        };
        if is_held {
            shared.held.notify_one();
            shared.let_go.notified().await;
        } else if chance[0] < weather.delays.0 {
            sleep(weather.delays.1.mul_f64(chance[1])).await;
        }
        if chance[2] < weather.duplicates {
            let (shared, parts, body) = (Arc::clone(&shared), parts.clone(), body.clone());
            tokio::spawn(async move {
                sleep(Duration::from_millis(5)).await;
                let _ = shared.send(parts, body).await;
            });
        }
        let answer = shared.send(parts, body).await;
        if is_held {
            *shared.late.lock().unwrap() = answer.as_ref().map(|answer| answer.status().as_u16());
            shared.answered.notify_one();
        }
        answer.filter(|_| chance[3] >= weather.drops)
    });
    passing.await.ok().flatten().ok_or_else(|| std::io::Error::other("lost on the way"))
}

impl Shared {
    async fn send(&self, mut parts: http::request::Parts, body: Bytes) -> Option<Answer> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("{}{path}", self.upstream).parse::<Uri>().ok()?;
        parts.version = http::Version::default();
        parts.headers.remove(http::header::CONTENT_LENGTH);
        parts.headers.remove(http::header::HOST);
        let response = self.client.request(Request::from_parts(parts, Full::from(body))).await.ok()?;
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(http::header::TRANSFER_ENCODING);
        let body = body.collect().await.ok()?;
        Some(Response::from_parts(parts, body))
    }
}
