//! `POST /v2/orders/{id}/cancel`: hands the wish on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::Full;

use super::Gateway;
use super::place::{KEY, ours};
use super::view::checked;
use crate::web::Problem;

pub(super) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = checked(id)?;
    let request = Request::post(format!("http://{}/v1/orders/{id}/cancel", gateway.addresses.orders))
        // An order is cancelled once however often that is asked for; the key tells our retry that it may.
        .header(KEY, format!("cancel-{id}"))
        .body(Full::new(Bytes::new()))
        .map_err(|error| Problem::internal(&error))?;
    Ok(ours(&gateway, request).await?.map(Body::from))
}
