//! `POST /v2/orders`: hands an order on, and makes it safe to send twice.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use http_body_util::Full;
use serde_json::Value;
use uuid::Uuid;

use super::Gateway;
use super::section::unanswered;
use crate::call::{self, NoAnswer, Reason};
use crate::web::Problem;

pub(super) const KEY: &str = "idempotency-key";

pub(super) async fn place(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| {
        Problem::new(rejection.status(), "body-unreadable", "The body is too large or broke off.").field("body")
    })?;
    let mut request = Request::post(format!("http://{}/v1/orders", gateway.addresses.orders))
        .body(Full::new(body))
        .map_err(|error| Problem::internal(&error))?;
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    request.headers_mut().insert(KEY, key(&headers)?);

    let mut placed = ours(&gateway, request).await?;
    let location = (placed.status() == StatusCode::CREATED).then(|| location(placed.body())).flatten();
    if let Some(location) = location {
        placed.headers_mut().insert(header::LOCATION, location);
    }
    Ok(placed.map(Body::from))
}

/// What orders answers, with nothing but what is meant for a customer.
pub(super) async fn ours(
    gateway: &Gateway,
    request: Request<Full<Bytes>>,
) -> Result<axum::http::Response<String>, Problem> {
    let (head, body) = match call::http(&gateway.placing, request).await {
        // Orders says what it means in JSON; anything else isn't meant for a customer.
        Ok(answer) if is_ours(&answer) => answer.into_parts(),
        Ok(answer) => return Err(unanswered("order", &call::broken(answer.status()))),
        Err(no_answer) => return Err(unanswered("order", &no_answer)),
    };
    let text = String::from_utf8(body.into()).map_err(|_| unanswered("order", &NoAnswer::because(Reason::Failed)))?;
    let mut answer = axum::http::Response::new(text);
    *answer.status_mut() = head.status;
    for name in [header::CONTENT_TYPE, header::RETRY_AFTER, HeaderName::from_static("idempotency-replayed")] {
        if let Some(value) = head.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    Ok(answer)
}

/// The customer's key, or one of our own: with it the gateway may ask again when an answer is lost,
/// and no order is placed twice.
fn key(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    match headers.get(KEY) {
        Some(key) => Ok(key.clone()),
        None => {
            HeaderValue::from_str(&format!("gateway-{}", Uuid::new_v4())).map_err(|error| Problem::internal(&error))
        }
    }
}

fn is_ours(response: &axum::http::Response<Bytes>) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json" || kind == "application/problem+json")
}

fn location(body: &str) -> Option<HeaderValue> {
    let order: Value = serde_json::from_str(body).ok()?;
    HeaderValue::from_str(&format!("/v2/orders/{}", order.get("id")?.as_str()?)).ok()
}
