//! What operators see, and what they can do.

use std::time::Duration;

use axum::{Router, body::Body};
use buttress::{
    saga::{Call, Coordinator, Saga, SagaError},
    step::SagaId,
};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{BoxError, ServiceExt, service_fn};

use super::world::{TAKE_BACK, TELL, TakeBack, World};

const A_DAY: Duration = Duration::from_secs(24 * 3600);
const SEEN: Call<Value> = Call::new("world.seen").shown();

/// A coordinator of which one saga is parked: of its two undos one never works.
async fn parked() -> (World, Coordinator, Router, SagaId) {
    let world = World::default();
    let shown = service_fn(async |_: Value| Err::<(), _>(BoxError::from("out of order")));
    let coordinator = world.coordinator().on(SEEN, shown).start().await.unwrap();
    let inner = world.clone();
    let failed: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            let undo = |key: &_| TakeBack { of: Clone::clone(key) };
            saga.step("reserve").undo(TAKE_BACK, undo).run(|key| inner.act(key)).await?;
            saga.step("charge").undo(SEEN, |_| json!({ "cents": 250 })).run(|key| inner.act(key)).await?;
            saga.then(TELL, "receipt".to_owned());
            saga.step("ship").run(async |_| Err::<(), BoxError>("no lorry".into())).await
        })
        .await;
    failed.unwrap_err();
    tokio::time::sleep(A_DAY / 2).await;
    let app = Router::new().nest("/admin/sagas", coordinator.admin());
    let (_, list) = ask(&app, Method::GET, "/admin/sagas", None).await;
    let id = list["sagas"][0]["id"].as_str().unwrap().parse().unwrap();
    (world, coordinator, app, id)
}

async fn ask(app: &Router, method: Method, uri: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

fn kinds(saga: &Value) -> Vec<&str> {
    saga["journal"].as_array().unwrap().iter().map(|record| record["kind"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn h7_a_parked_saga_is_listed_and_shown_while_its_other_undos_went_on() {
    let (world, _coordinator, app, id) = parked().await;
    assert_eq!(world.log(), ["do reserve", "do charge", "undo reserve"]);
    let (status, list) = ask(&app, Method::GET, "/admin/sagas?state=parked&name=place-order", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["sagas"].as_array().unwrap().len(), 1);
    assert_eq!(list["sagas"][0]["state"], "parked");
    let (_, none) = ask(&app, Method::GET, "/admin/sagas?state=done", None).await;
    assert_eq!(none["sagas"], json!([]));
    let (status, saga) = ask(&app, Method::GET, &format!("/admin/sagas/{id}"), None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(kinds(&saga)[..3], ["intent", "done", "intent"]);
    for kind in ["undo", "failed", "parked", "undone"] {
        assert!(kinds(&saga).contains(&kind), "{kind}: {saga}");
    }
}

#[tokio::test(start_paused = true)]
async fn h11_arguments_are_redacted_unless_their_call_says_that_they_may_be_seen() {
    let (_world, _coordinator, app, id) = parked().await;
    let (_, saga) = ask(&app, Method::GET, &format!("/admin/sagas/{id}"), None).await;
    let args: Vec<&Value> =
        saga["journal"].as_array().unwrap().iter().filter_map(|record| record.get("args")).collect();
    assert!(args[0]["redacted_bytes"].as_u64().unwrap() > 0, "{args:?}");
    assert_eq!(args[1], &json!({ "cents": 250 }));
}

#[tokio::test(start_paused = true)]
async fn a_parked_step_can_be_skipped_with_a_note_and_the_saga_is_at_rest() {
    let (_world, coordinator, app, id) = parked().await;
    let skip = format!("/admin/sagas/{id}/skip");
    let (status, problem) = ask(&app, Method::POST, &skip, Some(json!({ "number": 1 }))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().unwrap().contains("note is required"), "{problem}");
    let (status, problem) = ask(&app, Method::POST, &skip, Some(json!({ "number": 0, "note": "by hand" }))).await;
    assert_eq!((status, problem["detail"].as_str().unwrap()), (StatusCode::CONFLICT, "step 0 is not parked"));
    let (status, _) = ask(&app, Method::POST, &skip, Some(json!({ "number": 1, "note": "paid back in cash" }))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(coordinator.drain(A_DAY).await.unwrap().in_time);
    let (_, saga) = ask(&app, Method::GET, &format!("/admin/sagas/{id}"), None).await;
    assert_eq!(saga["state"], "undone");
    let journal = saga["journal"].as_array().unwrap();
    assert!(journal.iter().any(|record| record["note"] == "skip: paid back in cash"), "{saga}");
}

#[tokio::test(start_paused = true)]
async fn a_parked_saga_can_be_tried_again_and_parks_again_if_nothing_has_changed() {
    let (_world, coordinator, app, id) = parked().await;
    let (status, _) = ask(&app, Method::POST, &format!("/admin/sagas/{id}/retry"), Some(json!({}))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let state = || async { coordinator.saga(id).await.unwrap().unwrap().saga.state.as_str() };
    assert_eq!(state().await, "undoing");
    tokio::time::sleep(A_DAY / 2).await;
    assert_eq!(state().await, "parked");
}

#[tokio::test(start_paused = true)]
async fn a_parked_saga_can_be_given_up_and_nothing_else_can_be_done_about_it_then() {
    let (_world, _coordinator, app, id) = parked().await;
    let abandon = format!("/admin/sagas/{id}/abandon");
    let (status, _) = ask(&app, Method::POST, &abandon, Some(json!({ "note": "the shop is closed" }))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, saga) = ask(&app, Method::GET, &format!("/admin/sagas/{id}"), None).await;
    assert_eq!(saga["state"], "abandoned");
    assert_eq!(kinds(&saga).last(), Some(&"end"));
    let (status, problem) = ask(&app, Method::POST, &abandon, Some(json!({ "note": "once more" }))).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().ends_with("is abandoned, not parked"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn pages_follow_one_another() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    for _ in 0..5 {
        let inner = world.clone();
        let done: Result<(), SagaError> =
            coordinator.scope("s", async move |saga: Saga| saga.step("a").run(|key| inner.act(key)).await).await;
        done.unwrap();
    }
    let app = Router::new().nest("/s", coordinator.admin());
    let (mut seen, mut uri) = (Vec::new(), "/s?limit=2".to_owned());
    loop {
        let (_, page) = ask(&app, Method::GET, &uri, None).await;
        seen.extend(page["sagas"].as_array().unwrap().iter().map(|saga| saga["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        uri = format!("/s?limit=2&before={next}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a > b), "the youngest first, none twice: {seen:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_says_what_would_be_right() {
    let coordinator = World::default().coordinator().start().await.unwrap();
    let app = Router::new().nest("/s", coordinator.admin());
    let unknown = SagaId::new();
    for (method, uri, body, status, says) in [
        (Method::GET, "/s?state=asleep".to_owned(), None, 400, "running, committed"),
        (Method::GET, "/s?limit=0".to_owned(), None, 400, "from 1 to 200"),
        (Method::GET, "/s?limit=many".to_owned(), None, 400, "limit"),
        (Method::GET, "/s?stat=parked".to_owned(), None, 400, "stat"),
        (Method::GET, "/s/42".to_owned(), None, 400, "no saga's id"),
        (Method::GET, format!("/s/{unknown}"), None, 404, "no saga"),
        (Method::POST, format!("/s/{unknown}/retry"), Some(json!({})), 404, "no saga"),
        (Method::POST, format!("/s/{unknown}/skip"), Some(json!({ "note": "n" })), 422, "number is missing"),
        (Method::POST, format!("/s/{unknown}/abandon"), Some(json!({})), 422, "note is required"),
        (Method::POST, format!("/s/{unknown}/abandon"), Some(json!({ "why": "n" })), 400, "why"),
    ] {
        let (got, problem) = ask(&app, method, &uri, body).await;
        assert_eq!(got.as_u16(), status, "{uri}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{uri}: {problem}");
    }
}
