//! A gRPC service whose answers are scripted, over tonic's own client and server, without protoc.
//!
//! [`Scripted`] answers as it was told to, call by call, and echoes once it has run out of [`Answer`]s; it remembers
//! what was asked. It goes into a tonic server by [`serve`], or straight under a layer. [`EchoClient`] calls it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, uri::PathAndQuery};
use tokio::net::TcpListener;
use tonic::{
    Status, Streaming,
    body::Body,
    client::GrpcService,
    server::NamedService,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::Service;

/// The one message there is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Word {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

/// How the service answers one call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The request's own message, and `OK`.
    Echo,
    /// Nothing but a status, in the head: trailers-only.
    Fail(Status),
    /// A head, and then this status in the trailers.
    FailInTrailers(Status),
    /// A head, these messages, and then this status in the trailers.
    FailAfter(Vec<Word>, Status),
    /// A head, these messages, and `OK`.
    Messages(Vec<Word>),
    /// No answer, ever.
    Hang,
    /// A head, and no message, ever.
    HangAfterHead,
}

/// What the service was asked.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) words: Vec<Word>,
}

/// The service. Clones share the script and what was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scripted {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), seen: Arc::default() }
    }

    /// What was asked so far, a call at a time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl NamedService for Scripted {
    const NAME: &'static str = "test.Echo";
}

impl<B> Service<Request<B>> for Scripted
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<buttress::BoxError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call =
            Call { scripted: self.clone(), path: request.uri().path().to_owned(), headers: request.headers().clone() };
        Box::pin(async move {
            // On the wire every kind of method is a stream of messages each way; the client's side says which it is.
            Ok(tonic::server::Grpc::new(ProstCodec::<Word, Word>::default()).streaming(call, request).await)
        })
    }
}

#[derive(Debug)]
struct Call {
    scripted: Scripted,
    path: String,
    headers: HeaderMap,
}

type Answers = Pin<Box<dyn futures_util::Stream<Item = Result<Word, Status>> + Send>>;

impl tonic::server::StreamingService<Word> for Call {
    type Response = Word;
    type ResponseStream = Answers;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Answers>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<Word>>) -> Self::Future {
        let (scripted, path, headers) = (self.scripted.clone(), self.path.clone(), self.headers.clone());
        let mut asked = request.into_inner();
        Box::pin(async move {
            let mut words = Vec::new();
            while let Some(word) = asked.message().await? {
                words.push(word);
            }
            scripted.seen.lock().unwrap().push(Seen { path, headers, words: words.clone() });
            let answer = scripted.answers.lock().unwrap().pop_front().unwrap_or(Answer::Echo);
            let (words, status) = match answer {
                Answer::Echo => (words, None),
                Answer::Fail(status) => return Err(status),
                Answer::FailInTrailers(status) => (Vec::new(), Some(status)),
                Answer::FailAfter(words, status) => (words, Some(status)),
                Answer::Messages(words) => (words, None),
                Answer::Hang => std::future::pending().await,
                Answer::HangAfterHead => {
                    let nothing: Answers = Box::pin(futures_util::stream::pending());
                    return Ok(tonic::Response::new(nothing));
                }
            };
            let frames = words.into_iter().map(Ok).chain(status.map(Err)).collect::<Vec<_>>();
            let answers: Answers = Box::pin(futures_util::stream::iter(frames));
            Ok(tonic::Response::new(answers))
        })
    }
}

/// Serves `service` on a loopback port until the test's runtime ends.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S: NamedService + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<buttress::BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// A channel to that server.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// The client that tonic's code generator would have written.
#[derive(Debug, Clone)]
pub(crate) struct EchoClient<T> {
    inner: tonic::client::Grpc<T>,
}

impl<T> EchoClient<T>
where
    T: GrpcService<Body>,
    T::Error: Into<tonic::codegen::StdError>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    pub(crate) fn new(inner: T) -> Self {
        Self { inner: tonic::client::Grpc::new(inner) }
    }

    /// The unary method.
    pub(crate) async fn echo(&mut self, text: &str) -> Result<tonic::Response<Word>, Status> {
        self.echo_with(tonic::Request::new(text.into())).await
    }

    /// The unary method, with metadata and a timeout of the caller's.
    pub(crate) async fn echo_with(&mut self, request: tonic::Request<Word>) -> Result<tonic::Response<Word>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Echo");
        self.inner.unary(request, path, ProstCodec::<Word, Word>::default()).await
    }

    /// The server-streaming method.
    pub(crate) async fn echo_many(&mut self, text: &str) -> Result<tonic::Response<Streaming<Word>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/EchoMany");
        let request = tonic::Request::new(text.into());
        self.inner.server_streaming(request, path, ProstCodec::<Word, Word>::default()).await
    }

    /// The client-streaming method.
    pub(crate) async fn gather(
        &mut self,
        words: impl futures_util::Stream<Item = Word> + Send + 'static,
    ) -> Result<tonic::Response<Word>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Gather");
        let request = tonic::Request::new(words);
        self.inner.client_streaming(request, path, ProstCodec::<Word, Word>::default()).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.inner.ready().await.map_err(|error| Status::from_error(error.into()))
    }
}

#[tokio::test]
async fn the_script_is_followed_over_a_real_connection() {
    let scripted = Scripted::new([
        Answer::Fail(Status::unavailable("trailers only")),
        Answer::FailAfter(vec!["one".into()], Status::internal("after one")),
    ]);
    let mut client = EchoClient::new(connect(serve(scripted.clone()).await).await);

    assert_eq!(client.echo("a").await.unwrap_err().message(), "trailers only");
    let mut words = client.echo_many("b").await.unwrap().into_inner();
    assert_eq!(words.message().await.unwrap(), Some("one".into()));
    assert_eq!(words.message().await.unwrap_err().message(), "after one");
    assert_eq!(client.echo("c").await.unwrap().into_inner(), "c".into());

    let seen = scripted.seen();
    assert_eq!(
        seen.iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>(),
        ["/test.Echo/Echo", "/test.Echo/EchoMany", "/test.Echo/Echo"]
    );
    assert_eq!(seen[2].words, ["c".into()]);
}
