//! The parts of an order's view, each from the service that owns it.

use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use tonic::Code;

use super::Gateway;
use crate::call::{self, NoAnswer, Reason};
use crate::stack::HttpClient;
use crate::web::Problem;
use crate::wire::inventory as wire;

/// A part: there, not there (and that is the truth), or not to be had.
pub(super) type Section = Result<Option<Value>, NoAnswer>;

pub(super) async fn order(gateway: &Gateway, id: &str) -> Section {
    let uri = format!("http://{}/v1/orders/{id}", gateway.addresses.orders);
    read(&gateway.orders, uri).await
}

pub(super) async fn payment(gateway: &Gateway, id: &str) -> Section {
    let uri = format!("http://{}/v1/charges/{id}", gateway.addresses.payments);
    read(&gateway.payments, uri).await
}

pub(super) async fn reservation(gateway: &Gateway, id: &str) -> Section {
    let request = wire::GetReservationRequest { order_id: id.to_owned() };
    match gateway.inventory.clone().get_reservation(request).await {
        Ok(found) => Ok(Some(shown(found.into_inner()))),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(call::grpc(&status)),
    }
}

async fn read(client: &HttpClient, uri: String) -> Section {
    let request = Request::get(uri).body(Full::new(Bytes::new())).map_err(|_| NoAnswer::because(Reason::Failed))?;
    let answer = call::http(client, request).await?;
    match answer.status() {
        StatusCode::OK => {
            serde_json::from_slice(answer.body()).map(Some).map_err(|_| NoAnswer::because(Reason::Failed))
        }
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(call::broken(status)),
    }
}

fn shown(reservation: wire::Reservation) -> Value {
    let state = match reservation.state() {
        wire::State::Held => "held",
        wire::State::Committed => "committed",
        wire::State::Released => "released",
        wire::State::Returned => "returned",
        wire::State::Unspecified => "unknown",
    };
    let lines: Vec<_> =
        reservation.lines.into_iter().map(|line| json!({ "sku": line.sku, "quantity": line.quantity })).collect();
    json!({ "state": state, "lines": lines })
}

/// The answer when a part that can't be done without is not to be had.
pub(super) fn unanswered(section: &'static str, no_answer: &NoAnswer) -> Problem {
    let (status, detail) = match no_answer.reason {
        Reason::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "A service behind the gateway took too long."),
        Reason::Failed => (StatusCode::BAD_GATEWAY, "A service behind the gateway failed."),
        Reason::CircuitOpen | Reason::Overloaded | Reason::Unreachable => {
            (StatusCode::SERVICE_UNAVAILABLE, "A service behind the gateway can't be reached now.")
        }
    };
    Problem::new(status, "section-unavailable", detail)
        .with("section", section)
        .with("reason", no_answer.reason.name())
        .retry_after(no_answer.retry_after)
}
