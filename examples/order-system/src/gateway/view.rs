//! `GET /v2/orders/{id}`: order, payment and reservation, fetched side by side.
//!
//! The order is required. The others are shown as `null` when they can't be had, and named in
//! `_partial`; one that really isn't there (nothing was ever charged) is `null` and not named.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::Gateway;
use super::section::{self, Section, unanswered};
use crate::call::{NoAnswer, Reason};
use crate::web::{Problem, is_id};

/// How long the view waits for a part it can do without.
const OPTIONAL_WITHIN: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct View {
    order: Value,
    payment: Option<Value>,
    reservation: Option<Value>,
    #[serde(rename = "_partial", skip_serializing_if = "Vec::is_empty")]
    partial: Vec<Missing>,
}

#[derive(Serialize)]
struct Missing {
    section: &'static str,
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

pub(super) async fn view(
    State(gateway): State<Arc<Gateway>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = checked(id)?;
    let (order, payment, reservation) = tokio::join!(
        section::order(&gateway, &id),
        optional(section::payment(&gateway, &id)),
        optional(section::reservation(&gateway, &id)),
    );
    let order = match order {
        Ok(Some(order)) => order,
        Ok(None) => {
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-order", "There is no such order.").field("id"));
        }
        Err(no_answer) => return Err(unanswered("order", &no_answer)),
    };
    let mut partial = Vec::new();
    let payment = or_named("payment", payment, &mut partial);
    let reservation = or_named("reservation", reservation, &mut partial);
    Ok(respond(&View { order, payment, reservation, partial }))
}

/// What can be an order's id.
pub(super) fn checked(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    match id {
        Ok(Path(id)) if is_id(&id) => Ok(id),
        _ => {
            let detail = "An order's id has 1 to 64 letters, digits and dashes.";
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-id", detail).field("id"))
        }
    }
}

async fn optional(section: impl Future<Output = Section>) -> Section {
    timeout(OPTIONAL_WITHIN, section).await.unwrap_or(Err(NoAnswer::because(Reason::TimedOut)))
}

fn or_named(name: &'static str, section: Section, partial: &mut Vec<Missing>) -> Option<Value> {
    section.unwrap_or_else(|NoAnswer { reason, retry_after, .. }| {
        let retry_after_ms = retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        partial.push(Missing { section: name, reason, retry_after_ms });
        None
    })
}

fn respond(view: &View) -> Response {
    let mut response = axum::Json(view).into_response();
    if !view.partial.is_empty() {
        let names: Vec<_> = view.partial.iter().map(|missing| missing.section).collect();
        let headers = response.headers_mut();
        if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
            headers.insert("x-partial", names);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
