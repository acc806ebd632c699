//! What is told of an order's saga in the answer to its request, and in whose words.
//!
//! This stands before the saga's layer. It lets an answer wait a little for what follows the decision, so that whoever
//! hears it finds things as it says; it names what is undone; and it puts what the layer itself answers into our own words.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use buttress::Rejection;
use buttress::saga::{Coordinator, SagaDetail, ShownRecord};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use super::Orders;
use crate::web::{LARGEST_BODY, Problem};

/// How long an answer waits for what follows it: the goods to be sold, or everything to be undone. It will be in any case.
pub(super) const REST_WITHIN: Duration = Duration::from_secs(2);
/// The first look whether they are, and the longest wait between two.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_KEY: usize = 128;

pub(super) async fn tell(State(orders): State<Arc<Orders>>, request: Request, next: Next) -> Response {
    if let Some(problem) = request.headers().get("idempotency-key").and_then(unfit) {
        return problem.into_response();
    }
    let (mut head, body) = next.run(request).await.into_parts();
    // A refusal that nobody acted on is for the layers further out, as it is.
    if head.extensions.get::<Rejection>().is_some() {
        return Response::from_parts(head, body);
    }
    let body = match to_bytes(body, LARGEST_BODY).await {
        Ok(body) => body,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    if head.status.is_server_error() {
        // Sent again, all of it would be done and undone again. HTTP has no header for "don't retry"; this is the one that
        // retries know. Whoever wants the order still asks again later, with the same key.
        head.headers.insert("x-envoy-overloaded", HeaderValue::from_static("true"));
    }
    let body = match serde_json::from_slice(&body) {
        Ok(Value::Object(members)) => told(&orders.coordinator, &mut head, members, body).await,
        _ => body,
    };
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(body))
}

async fn told(
    coordinator: &Coordinator,
    head: &mut axum::http::response::Parts,
    mut members: Map<String, Value>,
    as_it_was: Bytes,
) -> Bytes {
    if members.get("policy").is_some_and(|policy| policy == "saga") {
        let reason = members.get("reason").and_then(Value::as_str).unwrap_or_default();
        return in_our_words(head.status, reason).body().to_string().into();
    }
    let order = |members: &Map<String, Value>, name: &str| members.get(name)?.as_str()?.parse().ok();
    if head.status.is_success() {
        if let Some(id) = order(&members, "id") {
            let _ = timeout(REST_WITHIN, at_rest(coordinator, id)).await;
        }
        return as_it_was;
    }
    let Some(id) = order(&members, "order_id") else { return as_it_was };
    let (undone, being_undone) = match coordinator.saga(id).await {
        Ok(Some(detail)) => undone(&detail),
        _ => return as_it_was,
    };
    members.insert("undone".to_owned(), json!(undone));
    members.insert("being_undone".to_owned(), json!(being_undone));
    Value::Object(members).to_string().into()
}

async fn at_rest(coordinator: &Coordinator, id: buttress::step::SagaId) {
    let mut wait = FIRST_LOOK;
    while let Ok(Some(detail)) = coordinator.saga(id).await
        && !detail.saga.state.is_final()
    {
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The parts of an order that are undone, and those that are yet to be, the last first.
fn undone(detail: &SagaDetail) -> (Vec<&'static str>, Vec<&'static str>) {
    let has = |number, kind| detail.journal.iter().any(|record| record.kind == kind && record.number == number);
    let begun = detail.journal.iter().rev().filter(|record| record.kind == "intent");
    // What was refused certainly didn't happen, and there is nothing to undo.
    begun.filter(|step| !has(step.number, "refused")).filter_map(|step| Some((step.number, part(step)?))).fold(
        (Vec::new(), Vec::new()),
        |(mut undone, mut being_undone), (number, part)| {
            if has(number, "undone") {
                undone.push(part)
            } else {
                being_undone.push(part)
            }
            (undone, being_undone)
        },
    )
}

fn part(step: &ShownRecord) -> Option<&'static str> {
    match step.step.as_deref()? {
        "charge-payment" => Some("payment"),
        "reserve-inventory" => Some("reservation"),
        // The order itself stays, and says that it was rejected.
        _ => None,
    }
}

/// What is wrong with a key, if anything is.
fn unfit(key: &HeaderValue) -> Option<Problem> {
    let fits = key.to_str().is_ok_and(|key| (1..=LONGEST_KEY).contains(&key.len()));
    (!fits).then(|| {
        let detail = format!("The key must have 1 to {LONGEST_KEY} visible ASCII characters.");
        Problem::new(StatusCode::BAD_REQUEST, "invalid-key", detail).field("Idempotency-Key")
    })
}

/// What the layer says, by the reason that it gives.
fn in_our_words(status: StatusCode, reason: &str) -> Problem {
    let about_the_key = |kind, detail| Problem::new(status, kind, detail).field("Idempotency-Key");
    match reason {
        "idempotency_key_missing" => {
            about_the_key("key-missing", "An order has an Idempotency-Key: a new one for a new order.")
        }
        "idempotency_key_unreadable" => {
            about_the_key("invalid-key", "There must be one key of visible ASCII characters.")
        }
        "idempotency_key_reused" => about_the_key("key-taken", "This key was used for another order."),
        "idempotency_key_running" => {
            about_the_key("still-at-work", "The first request with this key has no answer yet.")
        }
        "body_too_large" => Problem::new(status, "body-too-large", "The body is too large.").field("body"),
        "body_broke_off" => Problem::new(status, "body-unreadable", "The body could not be read.").field("body"),
        "elapsed" => {
            Problem::new(status, "timed-out", "The order took too long; what was done for it is being undone.")
        }
        _ => {
            tracing::error!(%status, reason, "an order's saga could not be carried out");
            Problem::new(status, "not-carried-out", "The order could not be carried out.").with("reason", reason)
        }
    }
}
