//! Orders' REST contract.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http::HeaderValue};
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use super::basket::{Basket, Priced};
use super::store::{Answer, Created, Key};
use super::{Orders, flow};
use crate::stack::Due;
use crate::web::{self, Json, Problem, problem::answer};

/// How long a second request with the same key waits for the first to have its answer.
const JOIN_FOR: Duration = Duration::from_secs(8);
const LONGEST_KEY: usize = 128;

#[derive(Clone)]
struct Api {
    orders: Arc<Orders>,
    at_work: mpsc::Sender<()>,
}

pub(super) fn router(orders: Arc<Orders>, at_work: mpsc::Sender<()>) -> Router {
    let routes = Router::new().route("/v1/orders", post(create)).route("/v1/orders/{id}", get(show));
    web::finish(routes).with_state(Api { orders, at_work })
}

async fn create(State(api): State<Api>, headers: HeaderMap, Json(basket): Json<Basket>) -> Result<Response, Problem> {
    let key = key(&headers, &basket)?;
    let order = basket.price(&api.orders.catalogue)?;
    let id = Uuid::now_v7().to_string();
    match api.orders.store.create(&id, &order, key.as_ref()).await? {
        Created::New => place(api, id, order).await,
        Created::KeyTaken => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-taken", "This key was used for another order.")
                .field("Idempotency-Key"))
        }
        Created::Before => match key {
            Some(key) => first_answer(&api.orders, &key.key).await,
            // Without a key there is no before.
            None => Err(Problem::from(sqlx::Error::RowNotFound)),
        },
    }
}

/// Runs the flow on a task of its own: a customer who hangs up must not leave it half done.
async fn place(api: Api, id: String, order: Priced) -> Result<Response, Problem> {
    let Api { orders, at_work } = api;
    let due = Due::of_caller();
    let flow = tokio::spawn(async move {
        let _at_work = at_work;
        let answer = flow::place(&orders, &id, &order, due).await?;
        orders.store.keep_answer(&id, &answer).await?;
        orders.answered.notify_waiters();
        Ok::<_, sqlx::Error>(answer)
    });
    match flow.await {
        Ok(done) => Ok(respond(done?)),
        Err(panic) => Err(Problem::internal(&panic)),
    }
}

async fn first_answer(orders: &Orders, key: &str) -> Result<Response, Problem> {
    let wait = async {
        loop {
            // Listen before looking, or the answer could come in between and be missed.
            let mut answered = std::pin::pin!(orders.answered.notified());
            answered.as_mut().enable();
            if let Some(answer) = orders.store.answer(key).await? {
                return Ok::<_, sqlx::Error>(answer);
            }
            answered.await;
        }
    };
    match timeout(JOIN_FOR, wait).await {
        Ok(kept) => {
            let mut response = respond(kept?);
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
        Err(_) => Err(Problem::new(
            StatusCode::CONFLICT,
            "still-at-work",
            "The first request with this key has no answer yet.",
        )
        .field("Idempotency-Key")
        .retry_after(Some(Duration::from_secs(1)))),
    }
}

async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    match api.orders.store.find(&id).await? {
        Some(order) => Ok(axum::Json(order).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "unknown-order", "There is no such order.").field("id")),
    }
}

fn key(headers: &HeaderMap, basket: &Basket) -> Result<Option<Key>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => {
            Ok(Some(Key { key: key.to_owned(), fingerprint: basket.fingerprint()? }))
        }
        _ => {
            let detail = format!("The key must have 1 to {LONGEST_KEY} visible ASCII characters.");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-key", detail).field("Idempotency-Key"))
        }
    }
}

fn respond(kept: Answer) -> Response {
    let mut response = answer(kept.status, kept.body);
    if kept.status.is_server_error() {
        // The order is decided, and asking again with its key gets this same answer. HTTP has no header for
        // "don't retry"; this is the one that retries know.
        response.headers_mut().insert("x-envoy-overloaded", HeaderValue::from_static("true"));
    }
    response
}
