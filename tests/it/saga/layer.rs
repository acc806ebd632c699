//! The layer over HTTP and plain services, by one call at a time.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, Response, StatusCode},
    routing::post,
};
use buttress::{
    BoxError, Deadline, Elapsed, Reason, Rejection, SagaLayer,
    saga::{Coordinator, OnConflict, OnDisconnect, Saga, SagaError},
};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder, ServiceExt};

use super::world::{TAKE_BACK, TELL, TakeBack, World};

const REST: Duration = Duration::from_secs(3600);

pub(super) async fn step(saga: &Saga, world: &World, name: &'static str) -> Result<(), SagaError> {
    saga.step(name).undo(TAKE_BACK, |key| TakeBack { of: key.clone() }).run(|key| world.act(key)).await
}

async fn broken(saga: &Saga) -> SagaError {
    let broken = saga.step("ship").undo(TAKE_BACK, |key| TakeBack { of: key.clone() });
    broken.run(async |_| Err::<(), BoxError>("no lorry".into())).await.unwrap_err()
}

pub(super) async fn post_to(app: &Router, path: &str) -> Response<Body> {
    app.clone().oneshot(Request::post(path).body(Body::empty()).unwrap()).await.unwrap()
}

pub(super) async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn problem(response: Response<Body>) -> serde_json::Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    serde_json::from_str(&text(response).await).unwrap()
}

/// A handler that takes two steps, promises a call, and answers with a status.
fn two_steps(coordinator: &Coordinator, world: &World, status: StatusCode) -> Router {
    let world = world.clone();
    let handler = async move |saga: Saga| {
        step(&saga, &world, "reserve").await?;
        step(&saga, &world, "charge").await?;
        saga.then(TELL, "receipt".to_owned());
        Ok::<_, SagaError>((status, "placed"))
    };
    Router::new().route("/orders", post(handler).layer(SagaLayer::http(coordinator, "place-order")))
}

const DONE: [&str; 3] = ["do reserve", "do charge", "tell receipt"];
const UNDONE: [&str; 4] = ["do reserve", "do charge", "undo charge", "undo reserve"];

// ===== the verdict =====

#[tokio::test(start_paused = true)]
async fn a_2xx_commits() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let response = post_to(&two_steps(&coordinator, &world, StatusCode::CREATED), "/orders").await;
    assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::CREATED, "placed"));
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), DONE);
}

#[tokio::test(start_paused = true)]
async fn anything_but_a_2xx_is_undone_before_the_client_hears_of_it() {
    for status in [StatusCode::SEE_OTHER, StatusCode::PAYMENT_REQUIRED, StatusCode::INTERNAL_SERVER_ERROR] {
        let world = World::default();
        let coordinator = world.coordinator().start().await.unwrap();
        let response = post_to(&two_steps(&coordinator, &world, status), "/orders").await;
        assert_eq!(world.log(), UNDONE, "{status}");
        assert_eq!((response.status(), text(response).await.as_str()), (status, "placed"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_commits_can_be_replaced() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let handler = async move |saga: Saga| {
        step(&saga, &inner, "reserve").await?;
        Ok::<_, SagaError>((StatusCode::SEE_OTHER, [("location", "/orders/7")]))
    };
    let layer = SagaLayer::http(&coordinator, "place-order")
        .commits_when(|status: StatusCode, _: &HeaderMap| status.is_success() || status.is_redirection());
    let app = Router::new().route("/orders", post(handler).layer(layer));
    assert_eq!(post_to(&app, "/orders").await.status(), StatusCode::SEE_OTHER);
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_answer_waits_only_so_long_for_its_undo() {
    let world = World::default();
    world.fail_undos(1000);
    let coordinator = world.coordinator().start().await.unwrap();
    let before = Instant::now();
    let response = post_to(&two_steps(&coordinator, &world, StatusCode::CONFLICT), "/orders").await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(before.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_runs_no_step_writes_nothing() {
    let world = World::default();
    let journal = super::controlled::Controlled::default();
    let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    let begun = journal.writes();
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST] {
        let handler = async move |_: Saga| status;
        let app = Router::new().route("/orders", post(handler).layer(SagaLayer::http(&coordinator, "read")));
        assert_eq!(post_to(&app, "/orders").await.status(), status);
    }
    assert_eq!(journal.writes(), begun);
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_cannot_be_made_undoes_the_saga_though_its_answer_would_commit() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let handler = async move |saga: Saga| {
        step(&saga, &inner, "reserve").await?;
        saga.then(buttress::saga::Call::<u32>::new("nobody.knows"), 7);
        Ok::<_, SagaError>("placed")
    };
    let app = Router::new().route("/orders", post(handler).layer(SagaLayer::http(&coordinator, "place-order")));
    let response = post_to(&app, "/orders").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(problem(response).await["reason"], "not_committed");
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

// ===== panics and errors =====

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_handler_is_undone_and_goes_on() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let handler = async move |saga: Saga| -> StatusCode {
        step(&saga, &inner, "reserve").await.unwrap();
        panic!("of the handler");
    };
    let app = Router::new().route("/orders", post(handler).layer(SagaLayer::http(&coordinator, "place-order")));
    let call = tokio::spawn(async move { post_to(&app, "/orders").await });
    let panic = call.await.unwrap_err().into_panic();
    assert_eq!(*panic.downcast::<&str>().unwrap(), "of the handler");
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_gives_a_sagas_error_on_and_the_client_reads_which_step_it_was() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let handler = async move |saga: Saga| -> Result<(), SagaError> {
        step(&saga, &inner, "reserve").await?;
        Err(broken(&saga).await)
    };
    let app = Router::new().route("/orders", post(handler).layer(SagaLayer::http(&coordinator, "place-order")));
    let response = post_to(&app, "/orders").await;
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    let problem = problem(response).await;
    assert_eq!(problem["reason"], "step_unknown");
    assert_eq!(problem["step"], "ship");
    assert!(!problem.to_string().contains("lorry"), "what the step failed with is nobody else's");
    assert_eq!(world.log(), ["do reserve", "undo ship", "undo reserve"]);
}

#[tokio::test]
async fn each_way_a_step_fails_has_its_answer() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    async fn answer(
        coordinator: &Coordinator,
        error: impl FnOnce() -> BoxError + Send + 'static,
    ) -> (u16, tonic::Code) {
        let failed = coordinator.scope("answer", async move |saga: Saga| {
            let error = error();
            saga.step("ship").run(async |_| Err::<(), BoxError>(error)).await
        });
        let kind = failed.await.unwrap_err();
        let copy = tonic::Status::from(kind);
        (0, copy.code())
    }
    let full = || Rejection::new("bulkhead", "payments", Reason::BulkheadFull).into();
    assert_eq!(answer(&coordinator, full).await.1, tonic::Code::Unavailable);
    assert_eq!(answer(&coordinator, || Elapsed::new("payments").into()).await.1, tonic::Code::DeadlineExceeded);
    assert_eq!(answer(&coordinator, || "no lorry".into()).await.1, tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn without_the_layer_a_handler_that_asks_for_a_saga_says_what_is_missing() {
    let app = Router::new()
        .route("/orders", post(async |_: Saga| "placed"))
        .route("/maybe", post(async |saga: Option<Saga>| format!("{}", saga.is_some())));
    let response = post_to(&app, "/orders").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(problem(response).await["title"].as_str().unwrap().contains("SagaLayer"));
    assert_eq!(text(post_to(&app, "/maybe").await).await, "false");
}

// ===== deadlines =====

#[tokio::test(start_paused = true)]
async fn when_the_deadline_passes_the_handler_is_cut_off_and_the_undo_starts() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let handler = async move |saga: Saga| -> Result<(), SagaError> {
        assert!(Deadline::current().is_some(), "what the handler calls inherits the deadline");
        step(&saga, &inner, "reserve").await?;
        saga.step("charge")
            .undo(TAKE_BACK, |key| TakeBack { of: key.clone() })
            .run(async |_| pending::<Result<(), BoxError>>().await)
            .await
    };
    let layer = SagaLayer::http(&coordinator, "place-order").deadline(Duration::from_secs(30));
    let app = Router::new().route("/orders", post(handler).layer(layer));
    let before = Instant::now();
    let response = post_to(&app, "/orders").await;
    assert_eq!(before.elapsed(), Duration::from_secs(30));
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.extensions().get(), Some(&Elapsed::new("place-order")));
    assert_eq!(problem(response).await["reason"], "elapsed");
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "undo charge", "undo reserve"], "the undo has no deadline but its own");
}

#[tokio::test(start_paused = true)]
async fn an_inherited_deadline_counts_if_it_is_earlier() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let layer = SagaLayer::http(&coordinator, "place-order").deadline(Duration::from_secs(30));
    let app = Router::new().route("/orders", post(async |_: Saga| pending::<()>().await).layer(layer));
    let request = Request::post("/orders").header("x-request-timeout-ms", "250").body(Body::empty()).unwrap();
    let before = Instant::now();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_millis(250));
    assert!(response.extensions().get::<Elapsed>().unwrap().is_inherited());

    // One that has passed: the handler isn't called.
    let late = Deadline::after(Duration::ZERO);
    let response = late.scope(post_to(&app, "/orders")).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.extensions().get::<Rejection>().unwrap().reason(), Reason::DeadlinePassed);
}

// ===== clients that hang up =====

#[tokio::test(start_paused = true)]
async fn h6_a_call_that_is_dropped_in_mid_step_goes_on_and_commits() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let handler = async move |saga: Saga| -> Result<(), SagaError> {
        step(&saga, &inner, "reserve").await?;
        sleep(Duration::from_secs(2)).await;
        step(&saga, &inner, "charge").await
    };
    let app = Router::new().route("/orders", post(handler).layer(SagaLayer::http(&coordinator, "place-order")));
    let call = tokio::time::timeout(Duration::from_secs(1), post_to(&app, "/orders"));
    assert!(call.await.is_err());
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "do charge"]);
}

#[tokio::test(start_paused = true)]
async fn k1_a_client_that_hangs_up_can_have_its_saga_undone() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let handler = async move |saga: Saga| -> Result<(), SagaError> {
        step(&saga, &inner, "reserve").await?;
        pending().await
    };
    let layer = SagaLayer::http(&coordinator, "place-order").on_disconnect(OnDisconnect::Undo);
    let app = Router::new().route("/orders", post(handler).layer(layer));
    let call = tokio::time::timeout(Duration::from_secs(1), post_to(&app, "/orders"));
    assert!(call.await.is_err());
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

// ===== the journal =====

#[tokio::test(start_paused = true)]
async fn an_answer_whose_commit_cannot_be_written_says_that_the_outcome_is_not_known() {
    let world = World::default();
    let journal = super::controlled::Controlled::default();
    let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    let (inner, failing) = (world.clone(), journal.clone());
    let handler = async move |saga: Saga| {
        step(&saga, &inner, "reserve").await?;
        failing.henceforth(super::controlled::Order::Fail);
        Ok::<_, SagaError>("placed")
    };
    let layer = SagaLayer::http(&coordinator, "place-order");
    let app = Router::new().route("/orders", post(handler).layer(layer));
    let response = post_to(&app, "/orders").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(problem(response).await["reason"], "outcome_unknown");
    assert_eq!(world.log(), ["do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_drains_takes_no_request_and_says_when_to_come_back() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let app = two_steps(&coordinator, &world, StatusCode::OK);
    coordinator.drain(REST).await.unwrap();
    let response = post_to(&app, "/orders").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.extensions().get::<Rejection>().unwrap().reason(), Reason::ShuttingDown);
    assert!(world.log().is_empty());
}

// ===== one at a time =====

fn exclusive(coordinator: &Coordinator, world: &World, on_conflict: OnConflict) -> Router {
    let world = world.clone();
    let handler = async move |saga: Saga| -> Result<(), SagaError> {
        step(&saga, &world, "reserve").await?;
        sleep(Duration::from_secs(2)).await;
        step(&saga, &world, "charge").await
    };
    let layer = SagaLayer::http(coordinator, "place-order")
        .exclusive_by(|parts| parts.headers.get("x-account")?.to_str().ok().map(str::to_owned))
        .on_conflict(on_conflict);
    Router::new().route("/orders", post(handler).layer(layer))
}

async fn of_account(app: &Router, account: &str) -> Response<Body> {
    let request = Request::post("/orders").header("x-account", account).body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn h15_sagas_on_the_same_thing_wait_for_each_other_and_others_do_not() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let app = exclusive(&coordinator, &world, OnConflict::Wait);
    let before = Instant::now();
    let (one, two, other) = tokio::join!(of_account(&app, "7"), of_account(&app, "7"), of_account(&app, "8"));
    for response in [one, two, other] {
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(before.elapsed(), Duration::from_secs(4));
    assert_eq!(world.log(), ["do reserve", "do reserve", "do charge", "do charge", "do reserve", "do charge"]);
}

#[tokio::test(start_paused = true)]
async fn h15_a_saga_that_finds_another_at_work_is_answered_409_or_423_as_it_was_told() {
    for (on_conflict, status, after) in
        [(OnConflict::Conflict, 409, 0), (OnConflict::Locked, 423, 0), (OnConflict::Wait, 409, 1)]
    {
        let world = World::default();
        let coordinator = world.coordinator().start().await.unwrap();
        let app = exclusive(&coordinator, &world, on_conflict);
        let late = async {
            sleep(Duration::from_millis(1)).await;
            let before = Instant::now();
            let response = Deadline::after(Duration::from_secs(1)).scope(of_account(&app, "7")).await;
            assert_eq!(before.elapsed(), Duration::from_secs(after), "{on_conflict:?}");
            response
        };
        let (one, two) = tokio::join!(of_account(&app, "7"), late);
        assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, status), "{on_conflict:?}");
        assert_eq!(two.headers()["retry-after"], "1");
        assert_eq!(problem(two).await["reason"], "exclusive");
    }
}

#[tokio::test(start_paused = true)]
async fn i12_the_next_saga_on_the_same_thing_waits_for_the_undo_of_the_one_before() {
    let world = World::default();
    world.fail_undos(3);
    let coordinator = world.coordinator().start().await.unwrap();
    let (inner, first) = (world.clone(), Arc::new(AtomicBool::new(true)));
    let handler = async move |saga: Saga| -> Result<StatusCode, SagaError> {
        step(&saga, &inner, "reserve").await?;
        Ok(if first.swap(false, SeqCst) { StatusCode::CONFLICT } else { StatusCode::OK })
    };
    let layer = SagaLayer::http(&coordinator, "place-order")
        .exclusive_by(|_| Some("the only one".to_owned()))
        .max_wait(REST)
        .undo_wait(Duration::ZERO);
    let app = Router::new().route("/orders", post(handler).layer(layer));
    assert_eq!(post_to(&app, "/orders").await.status(), StatusCode::CONFLICT);
    assert_eq!(post_to(&app, "/orders").await.status(), StatusCode::OK);
    assert_eq!(world.log(), ["do reserve", "undo reserve", "do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn h15_the_journal_has_the_last_word_between_two_coordinators() {
    let world = World::default();
    let journal = buttress::saga::journal::MemoryJournal::new();
    let mut apps = Vec::new();
    for _ in 0..2 {
        let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        apps.push(exclusive(&coordinator, &world, OnConflict::Locked));
    }
    let late = async {
        sleep(Duration::from_secs(1)).await;
        of_account(&apps[1], "7").await
    };
    let (one, two) = tokio::join!(of_account(&apps[0], "7"), late);
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 423));
    assert_eq!(world.log(), ["do reserve", "do charge"]);
}

// ===== plain services =====

#[tokio::test(start_paused = true)]
async fn a_plain_service_finds_its_saga_in_its_task() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let mut service =
        ServiceBuilder::new().layer(SagaLayer::new(&coordinator, "place-order")).service_fn(move |ok: bool| {
            let (saga, world) = (Saga::current().unwrap(), inner.clone());
            async move {
                assert_eq!(Saga::current().unwrap().id(), saga.id());
                step(&saga, &world, "reserve").await?;
                if ok { Ok("placed") } else { Err(BoxError::from("no lorry")) }
            }
        });
    assert_eq!(service.ready().await.unwrap().call(true).await.unwrap(), "placed");
    let error = service.ready().await.unwrap().call(false).await.unwrap_err();
    assert_eq!(error.to_string(), "no lorry");
    assert!(Saga::current().is_none());
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "do reserve", "undo reserve"]);
    let error = service.ready().await.unwrap().call(true).await.unwrap_err();
    assert_eq!(Rejection::find(&error).unwrap().reason(), Reason::ShuttingDown);
}
