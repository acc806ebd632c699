//! A router for operators: sees sagas, and decides about those that are parked.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{
        Path, Query,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;

use crate::{
    saga::{
        Coordinator, OperatorError,
        journal::{Filter, JournalError, State},
    },
    step::SagaId,
};

/// How many sagas a page holds, if not said otherwise, and at most.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 200;

impl Coordinator {
    /// A router for operators, to be nested where only they come: it asks nobody who they are.
    ///
    /// | | |
    /// |---|---|
    /// | `GET /?state=parked&name=place-order&limit=50&before=<id>` | sagas, the youngest first; `next` is the `before` of the next page |
    /// | `GET /{id}` | one, with its journal |
    /// | `POST /{id}/retry`, `{"number": 1}` or `{}` | has what is parked in it tried again |
    /// | `POST /{id}/skip`, `{"number": 1, "note": "..."}` | takes it as done: somebody saw to it by hand |
    /// | `POST /{id}/abandon`, `{"note": "..."}` | gives the saga up as it stands |
    ///
    /// Arguments are redacted, unless their [`Call`](crate::saga::Call::shown) says that they may be seen. What can't be done
    /// is answered by `application/problem+json`: 400 for what can't be read, 404 for a saga that isn't there, 409 for one
    /// that isn't parked, 422 for a note that is missing, 503 where the journal can't be read or written.
    pub fn admin<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let (list, show) = (self.clone(), self.clone());
        let (retry, skip, abandon) = (self.clone(), self.clone(), self.clone());
        Router::new()
            .route("/", get(async move |query| list_sagas(list, query).await))
            .route("/{id}", get(async move |Path(id): Path<String>| show_saga(show, &id).await))
            .route(
                "/{id}/retry",
                post(async move |Path(id): Path<String>, body| {
                    let (id, Decision { number, .. }) = (read_id(&id)?, read(body)?);
                    retry.retry(id, number).await.map(done).map_err(Problem::from)
                }),
            )
            .route(
                "/{id}/skip",
                post(async move |Path(id): Path<String>, body| {
                    let (id, Decision { number, note }) = (read_id(&id)?, read(body)?);
                    let number = number.ok_or_else(|| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, NO_NUMBER))?;
                    skip.skip(id, number, &note).await.map(done).map_err(Problem::from)
                }),
            )
            .route(
                "/{id}/abandon",
                post(async move |Path(id): Path<String>, body| {
                    let (id, Decision { note, .. }) = (read_id(&id)?, read(body)?);
                    abandon.abandon(id, &note).await.map(done).map_err(Problem::from)
                }),
            )
    }
}

const NO_NUMBER: &str = "number is missing: it says which step or call is to be taken as done";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    state: Option<String>,
    name: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    number: Option<u32>,
    #[serde(default)]
    note: String,
}

async fn list_sagas(coordinator: Coordinator, page: Result<Query<Page>, QueryRejection>) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|error| bad(error.body_text()))?;
    let state = page.state.as_deref().map(read_state).transpose()?;
    let before = page.before.as_deref().map(read_id).transpose()?;
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(bad(format!("limit must be from 1 to {LARGEST_PAGE}, not {limit}")));
    }
    let sagas = coordinator.sagas(Filter { state, name: page.name, before, limit }).await?;
    let next = sagas.last().filter(|_| sagas.len() == limit as usize).map(|last| last.id);
    Ok(Json(json!({ "sagas": sagas, "next": next })).into_response())
}

async fn show_saga(coordinator: Coordinator, id: &str) -> Result<Response, Problem> {
    let id = read_id(id)?;
    let detail = coordinator.saga(id).await?;
    Ok(Json(detail.ok_or(OperatorError::Unknown(id))?).into_response())
}

fn done(_: ()) -> Response {
    StatusCode::NO_CONTENT.into_response()
}

fn read(body: Result<Json<Decision>, JsonRejection>) -> Result<Decision, Problem> {
    body.map(|Json(decision)| decision).map_err(|error| bad(error.body_text()))
}

fn read_id(id: &str) -> Result<SagaId, Problem> {
    id.parse().map_err(|error: crate::step::InvalidStepKey| bad(error.to_string()))
}

fn read_state(name: &str) -> Result<State, Problem> {
    State::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
        let states = State::ALL.map(State::as_str).join(", ");
        bad(format!("{name:?} is no state: {states} are"))
    })
}

/// Why not, for a person to read.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    detail: Arc<str>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<Arc<str>>) -> Self {
        Self { status, detail: detail.into() }
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        OperatorError::Journal(error).into()
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let status = match &error {
            OperatorError::Unknown(_) => StatusCode::NOT_FOUND,
            OperatorError::NotParked(_) | OperatorError::Busy(_) => StatusCode::CONFLICT,
            OperatorError::Note => StatusCode::UNPROCESSABLE_ENTITY,
            OperatorError::Journal(_) | OperatorError::Lost(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({ "title": title, "status": self.status.as_u16(), "detail": &*self.detail });
        let mut response = (self.status, body.to_string()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
