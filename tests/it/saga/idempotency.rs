//! Idempotency keys, over HTTP.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    http::{HeaderMap, HeaderName, Request, Response, StatusCode},
    response::IntoResponse,
    routing::post,
};
use buttress::{
    Deadline, SagaLayer,
    saga::{
        Coordinator,
        Idempotency::{Optional, Required},
        OnDisconnect, Saga, SagaError,
        journal::{Lookup, MemoryJournal},
    },
};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::ServiceExt;

use super::{controlled::Controlled, layer::step, world::World};

const REST: Duration = Duration::from_secs(3600);

/// A handler that takes a step, a second of time, and then answers as it was told to, or with a 201 and how often it ran.
#[derive(Clone, Default)]
struct Shop {
    world: World,
    runs: Arc<AtomicUsize>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Shop {
    fn answering(statuses: impl IntoIterator<Item = u16>) -> Self {
        Self { answers: Arc::new(Mutex::new(statuses.into_iter().collect())), ..Self::default() }
    }

    fn runs(&self) -> usize {
        self.runs.load(SeqCst)
    }

    async fn place(&self, saga: &Saga, body: Bytes) -> Result<Response<Body>, SagaError> {
        let run = self.runs.fetch_add(1, SeqCst) + 1;
        step(saga, &self.world, "reserve").await?;
        sleep(Duration::from_secs(1)).await;
        let status = self.answers.lock().unwrap().pop_front().unwrap_or(201);
        let headers = [("location", format!("/orders/{run}")), ("set-cookie", "session=secret".to_owned())];
        let answer = format!("{run}: {}", String::from_utf8_lossy(&body));
        Ok((StatusCode::from_u16(status).unwrap(), headers, answer).into_response())
    }

    fn app(&self, coordinator: &Coordinator) -> Router {
        self.with(SagaLayer::http(coordinator, "place-order").idempotency(Required))
    }

    fn with<V, K>(&self, layer: SagaLayer<buttress::protocol::Http, V, K>) -> Router
    where
        SagaLayer<buttress::protocol::Http, V, K>: Clone + Send + Sync + 'static,
        V: buttress::saga::CommitHead + Clone + Send + Sync + 'static,
        K: buttress::saga::idempotency::Approach<Request<Body>>,
    {
        let shop = self.clone();
        let handler = async move |Path(_): Path<String>, saga: Saga, body: Bytes| shop.place(&saga, body).await;
        Router::new().route("/{what}", post(handler).layer(layer))
    }
}

/// What came back: the status, whether it was given before, and the body.
type Got = (u16, bool, String);

async fn got(response: Response<Body>) -> Got {
    let status = response.status().as_u16();
    let replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    if status == 201 {
        assert!(response.headers()["location"].to_str().unwrap().starts_with("/orders/"));
        assert_eq!(response.headers().contains_key("set-cookie"), !replayed, "cookies are nobody else's");
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, replayed, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask_with(app: &Router, path: &str, headers: &[(&str, &str)], body: &'static str) -> Response<Body> {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

async fn ask(app: &Router, key: &str, body: &'static str) -> Got {
    got(ask_with(app, "/orders", &[("idempotency-key", key)], body).await).await
}

fn reason((_, _, body): &Got) -> String {
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    problem["reason"].as_str().unwrap().to_owned()
}

// ===== H17 =====

#[tokio::test(start_paused = true)]
async fn h17_a_request_without_a_key_is_answered_400_where_one_is_required() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    let answer = got(ask_with(&app, "/orders", &[], "a book").await).await;
    assert_eq!((answer.0, reason(&answer).as_str()), (400, "idempotency_key_missing"));
    let long = "k".repeat(256);
    for unreadable in ["", "\"\"", "two words", "é", &long] {
        let answer = ask(&app, unreadable, "a book").await;
        assert_eq!((answer.0, reason(&answer).as_str()), (400, "idempotency_key_unreadable"), "{unreadable:?}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(ask_with(&app, "/orders", &twice, "a book").await.status(), 400);
    assert_eq!(shop.runs(), 0);
    let optional = shop.with(SagaLayer::http(&coordinator, "place-order").idempotency(Optional));
    assert_eq!(got(ask_with(&optional, "/orders", &[], "a book").await).await, (201, false, "1: a book".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn h17_a_key_asked_again_gives_the_same_answer_marked_as_given_before() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    assert_eq!(ask(&app, "k", "a book").await, (201, false, "1: a book".to_owned()));
    // With quotes, as the draft has it, it is the same.
    for key in ["k", "\"k\""] {
        assert_eq!(ask(&app, key, "a book").await, (201, true, "1: a book".to_owned()));
    }
    assert_eq!(ask(&app, "other", "a book").await, (201, false, "2: a book".to_owned()));
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(shop.world.log(), ["do reserve", "do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn k3_the_same_key_with_another_payload_is_answered_422_while_the_first_runs_and_after() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    let other = async {
        sleep(Duration::from_millis(1)).await;
        let before = Instant::now();
        let answer = ask(&app, "k", "a lorry").await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        answer
    };
    let (first, other) = tokio::join!(ask(&app, "k", "a book"), other);
    assert_eq!(first.0, 201);
    let later = ask(&app, "k", "a lorry").await;
    let other_path = got(ask_with(&app, "/returns", &[("idempotency-key", "k")], "a book").await).await;
    for answer in [other, later, other_path] {
        assert_eq!((answer.0, reason(&answer).as_str()), (422, "idempotency_key_reused"));
    }
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn h17_a_request_joins_the_one_that_runs_up_to_its_deadline() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    let in_a_hurry = async {
        sleep(Duration::from_millis(1)).await;
        let before = Instant::now();
        let key = [("idempotency-key", "k")];
        let deadline = Deadline::after(Duration::from_millis(100));
        let response = deadline.scope(ask_with(&app, "/orders", &key, "a book")).await;
        assert_eq!(before.elapsed(), Duration::from_millis(100));
        assert_eq!(response.headers()["retry-after"], "1");
        got(response).await
    };
    let patient = async {
        sleep(Duration::from_millis(2)).await;
        ask(&app, "k", "a book").await
    };
    let (first, hurried, patient) = tokio::join!(ask(&app, "k", "a book"), in_a_hurry, patient);
    assert_eq!(first, (201, false, "1: a book".to_owned()));
    assert_eq!((hurried.0, reason(&hurried).as_str()), (409, "idempotency_key_running"));
    assert_eq!(patient, (201, true, "1: a book".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn k2_eight_concurrent_retries_of_a_key_run_one_saga() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let app = app.clone();
        calls.spawn(async move { ask(&app, "k", "a book").await });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !answer.1).count(), 1);
    assert!(answers.iter().all(|(status, _, body)| *status == 201 && body == "1: a book"), "{answers:?}");
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn k2_between_two_nodes_the_first_step_decides_who_runs() {
    let (shop, journal) = (Shop::default(), MemoryJournal::new());
    let mut apps = Vec::new();
    for _ in 0..2 {
        let builder = shop.world.register(Coordinator::with_inline_journal(journal.clone()));
        apps.push(shop.app(&builder.start().await.unwrap()));
    }
    let (one, two) = tokio::join!(ask(&apps[0], "k", "a book"), ask(&apps[1], "k", "a book"));
    assert_eq!(one, (201, false, "1: a book".to_owned()));
    assert_eq!(two, (201, true, "1: a book".to_owned()));
    assert_eq!(shop.world.log(), ["do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn h17_a_key_belongs_to_whoever_sent_it() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    let mut seen = Vec::new();
    for token in ["Bearer anna", "Bearer bert", "Bearer anna"] {
        let headers = [("idempotency-key", "k"), ("authorization", token)];
        seen.push(got(ask_with(&app, "/orders", &headers, "a book").await).await);
    }
    seen.push(ask(&app, "k", "a book").await);
    let expected = [(false, "1: a book"), (false, "2: a book"), (true, "1: a book"), (false, "3: a book")];
    assert_eq!(seen, expected.map(|(replayed, body)| (201, replayed, body.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn h17_who_sent_a_key_can_be_said() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let user = |parts: &axum::http::request::Parts| Some(parts.headers.get("x-user")?.to_str().ok()?.to_owned());
    let layer = SagaLayer::http(&coordinator, "place-order").idempotency(Required).principal(user);
    let app = shop.with(layer);
    for (token, user, replayed) in [("old", "anna", false), ("renewed", "anna", true), ("renewed", "bert", false)] {
        let headers = [("idempotency-key", "k"), ("authorization", token), ("x-user", user)];
        let answer = got(ask_with(&app, "/orders", &headers, "a book").await).await;
        assert_eq!((answer.0, answer.1), (201, replayed), "{token} {user}");
    }
}

#[tokio::test(start_paused = true)]
async fn h17_a_key_belongs_to_one_kind_of_saga() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let returns = shop.with(SagaLayer::http(&coordinator, "return").idempotency(Required));
    assert_eq!(ask(&shop.app(&coordinator), "k", "a book").await.2, "1: a book");
    assert_eq!(ask(&returns, "k", "a book").await, (201, false, "2: a book".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn h17_the_claim_is_in_the_sagas_first_transaction_and_holds_no_token() {
    let (shop, mut journal) = (Shop::default(), MemoryJournal::new());
    let coordinator = shop.world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    let app = shop.app(&coordinator);
    let call = tokio::spawn(async move {
        let headers = [("idempotency-key", "k"), ("authorization", "Bearer secret")];
        ask_with(&app, "/orders", &headers, "a book").await
    });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(shop.world.log(), ["do reserve"], "in its first step");
    let all = buttress::saga::journal::Filter { state: None, name: None, before: None, limit: 9 };
    let row = journal.list(&all).unwrap().pop().unwrap();
    let key = row.scope_key.as_deref().unwrap();
    assert!(key.ends_with("|place-order|k") && !key.contains("secret"), "{key}");
    assert_eq!(row.fingerprint.unwrap().len(), 32);
    assert_eq!(call.await.unwrap().status(), 201);
}

// ===== which answers are kept =====

#[tokio::test(start_paused = true)]
async fn k4_an_answer_that_says_not_now_lets_the_key_go_once_everything_is_undone() {
    for status in [408, 409, 425, 429, 500, 503, 303] {
        let shop = Shop::answering([status]);
        shop.world.fail_undos(3);
        let coordinator = shop.world.coordinator().start().await.unwrap();
        let app = shop.app(&coordinator);
        assert_eq!(ask(&app, "k", "a book").await.0, status);
        assert_eq!(ask(&app, "k", "a book").await, (201, false, "2: a book".to_owned()), "{status}");
        assert_eq!(shop.world.log(), ["do reserve", "undo reserve", "do reserve"]);
    }
}

#[tokio::test(start_paused = true)]
async fn k4_a_retry_while_the_undo_goes_on_waits_for_it_and_says_so_if_it_takes_too_long() {
    let shop = Shop::answering([500]);
    shop.world.fail_undos(u32::MAX);
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app =
        shop.with(SagaLayer::http(&coordinator, "place-order").idempotency(Required).max_wait(Duration::from_secs(20)));
    assert_eq!(ask(&app, "k", "a book").await.0, 500);
    let before = Instant::now();
    let answer = ask(&app, "k", "a book").await;
    assert_eq!((answer.0, reason(&answer).as_str()), (409, "idempotency_key_running"));
    assert!(before.elapsed() <= Duration::from_secs(20) && before.elapsed() >= Duration::from_secs(18));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn h17_a_final_refusal_is_kept_and_given_again() {
    for status in [400, 402, 404, 422] {
        let shop = Shop::answering([status]);
        let coordinator = shop.world.coordinator().start().await.unwrap();
        let app = shop.app(&coordinator);
        assert_eq!(ask(&app, "k", "a book").await, (status, false, "1: a book".to_owned()));
        assert_eq!(ask(&app, "k", "a book").await, (status, true, "1: a book".to_owned()));
        assert_eq!(shop.world.log(), ["do reserve", "undo reserve"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_though_no_step_ran_for_it_and_a_refusal_is_not() {
    let world = World::default();
    let journal = Controlled::default();
    let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let handler = async move |body: String| {
        count.fetch_add(1, SeqCst);
        if body.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::OK }
    };
    let layer = SagaLayer::http(&coordinator, "place-order").idempotency(Required);
    let app = Router::new().route("/orders", post(handler).layer(layer));
    let before = journal.writes();
    assert_eq!((ask(&app, "bad", "").await.0, ask(&app, "bad", "").await.0), (400, 400));
    assert_eq!((runs.load(SeqCst), journal.writes() - before), (2, 0), "nothing happened, so nothing is kept");
    assert_eq!((ask(&app, "good", "a book").await.1, ask(&app, "good", "a book").await.1), (false, true));
    assert_eq!((runs.load(SeqCst), journal.writes() - before), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_be_kept_is_given_once_and_its_key_never_runs_again() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let layer = SagaLayer::http(&coordinator, "place-order").idempotency(Required).answer_limit(100);
    let app = shop.with(layer);
    let long = "a very long description of a book that nobody wants to read to its end, let alone keep";
    assert_eq!(ask(&app, "k", long).await, (201, false, format!("1: {long}")));
    let again = ask(&app, "k", long).await;
    assert_eq!((again.0, reason(&again).as_str()), (409, "answer_not_kept"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_streams_without_end_is_handed_on_and_not_kept() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let handler = async move |saga: Saga| {
        step(&saga, &world, "reserve").await?;
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        tokio::spawn(async move {
            sender.send(Ok(Frame::data(Bytes::from_static(b"tick")))).await.unwrap();
            pending::<()>().await;
            drop(sender);
        });
        Ok::<_, SagaError>(Body::new(StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    };
    let layer = SagaLayer::http(&coordinator, "place-order").idempotency(Required);
    let app = Router::new().route("/orders", post(handler).layer(layer));
    let response = ask_with(&app, "/orders", &[("idempotency-key", "k")], "").await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "tick");
    assert_eq!(ask(&app, "k", "").await.0, 409);
}

// ===== bodies =====

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_answered_413_before_anything_begins() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.with(SagaLayer::http(&coordinator, "place-order").idempotency(Required).body_limit(6));
    assert_eq!(ask(&app, "fits", "a book").await.0, 201);
    let answer = ask(&app, "k", "a lorry").await;
    assert_eq!((answer.0, reason(&answer).as_str()), (413, "body_too_large"));
    // One that doesn't say how large it is.
    let parts =
        ["a ", "lo", "rr", "y"].map(|part| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(part.as_bytes()))));
    let body = Body::new(StreamBody::new(futures_util::stream::iter(parts)));
    let request = Request::post("/orders").header("idempotency-key", "k").body(body).unwrap();
    assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 413);
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_in_pieces_reaches_the_handler_whole_and_one_that_breaks_off_does_not() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    for (key, last, status) in [("whole", Ok("k"), 201), ("broken", Err(std::io::Error::other("gone")), 400)] {
        let parts = [Ok("a b"), Ok("oo"), last];
        let frames = parts.map(|part| part.map(|part| Frame::data(Bytes::from_static(part.as_bytes()))));
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let request = Request::post("/orders").header("idempotency-key", key).body(body).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{key}");
    }
    assert_eq!(ask(&app, "whole", "a book").await, (201, true, "1: a book".to_owned()));
}

// ===== what a client that comes back finds =====

#[tokio::test(start_paused = true)]
async fn k1_a_client_that_hung_up_finds_its_answer() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop.app(&coordinator);
    let hung_up = tokio::time::timeout(Duration::from_millis(500), ask(&app, "k", "a book")).await;
    assert!(hung_up.is_err());
    assert_eq!(ask(&app, "k", "a book").await, (201, true, "1: a book".to_owned()));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn k1_whoever_waits_for_a_key_and_hangs_up_leaves_nothing_behind() {
    let shop = Shop::answering([500]);
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let app = shop
        .with(SagaLayer::http(&coordinator, "place-order").idempotency(Required).on_disconnect(OnDisconnect::Continue));
    let waits = async {
        sleep(Duration::from_millis(1)).await;
        tokio::time::timeout(Duration::from_millis(500), ask(&app, "k", "a book")).await
    };
    let (first, waited) = tokio::join!(ask(&app, "k", "a book"), waits);
    assert_eq!(first.0, 500);
    assert!(waited.is_err());
    sleep(REST).await;
    assert_eq!(shop.runs(), 1, "the one that waited was not carried out after all");
}

/// Runs `life` until it is over or `within` has passed, and then nothing more happens of it: the process died.
fn one_life(within: Duration, life: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let _ = tokio::time::timeout(within, life()).await;
    });
}

#[test]
fn k4_after_a_crash_undid_a_saga_its_key_runs_anew_and_one_that_committed_keeps_its_answer() {
    let (shop, journal) = (Shop::default(), MemoryJournal::new());
    one_life(Duration::from_millis(1500), async || {
        let coordinator = shop.world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        let app = shop.app(&coordinator);
        assert_eq!(ask(&app, "committed", "a book").await.2, "1: a book");
        ask(&app, "crashed", "a book").await;
    });
    one_life(REST, async || {
        let coordinator = shop.world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        let app = shop.app(&coordinator);
        assert_eq!(ask(&app, "committed", "a book").await, (201, true, "1: a book".to_owned()));
        assert_eq!(ask(&app, "crashed", "a book").await, (201, false, "3: a book".to_owned()));
    });
    assert_eq!(shop.world.log(), ["do reserve", "do reserve", "undo reserve", "do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_lets_the_key_go() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let handler = async move |saga: Saga, _: HeaderMap| {
        step(&saga, &world, "reserve").await.unwrap();
        assert!(runs.fetch_add(1, SeqCst) > 0, "the first one panics");
        "placed"
    };
    let layer = SagaLayer::http(&coordinator, "place-order").idempotency(Required);
    let app = Router::new().route("/orders", post(handler).layer(layer));
    let call = app.clone();
    assert!(tokio::spawn(async move { ask(&call, "k", "").await }).await.unwrap_err().is_panic());
    assert_eq!(ask(&app, "k", "").await, (200, false, "placed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn headers_beside_the_usual_ones_are_kept_if_they_are_named() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let layer = SagaLayer::http(&coordinator, "place-order")
        .idempotency(Required)
        .keep_headers([HeaderName::from_static("set-cookie")]);
    let app = shop.with(layer);
    let key = [("idempotency-key", "k")];
    ask_with(&app, "/orders", &key, "a book").await;
    assert_eq!(ask_with(&app, "/orders", &key, "a book").await.headers()["set-cookie"], "session=secret");
}
