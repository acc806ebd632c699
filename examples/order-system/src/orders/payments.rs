//! Payments as orders sees it: two calls, and what became of each.

use std::net::SocketAddr;

use axum::http::request::Builder;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;
use serde::Serialize;

use super::flow::Failure;
use crate::call::{self, NoAnswer, Reason};
use crate::stack::HttpClient;

#[derive(Serialize)]
struct NewCharge<'a> {
    order_id: &'a str,
    card: &'a str,
    amount_cents: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Payments {
    charges: HttpClient,
    /// When charges fail there is most to refund, so a breaker that is open for those must not hold it up.
    refunds: HttpClient,
    base: String,
}

impl Payments {
    pub(super) fn new(charges: HttpClient, refunds: HttpClient, address: SocketAddr) -> Self {
        Self { charges, refunds, base: format!("http://{address}") }
    }

    pub(super) async fn charge(&self, order: &str, card: &str, cents: i64) -> Result<(), Failure> {
        let charge = NewCharge { order_id: order, card, amount_cents: cents };
        let answer = match serde_json::to_vec(&charge) {
            Ok(body) => {
                let request = Request::post(format!("{}/v1/charges", self.base));
                send(&self.charges, request, order, body.into()).await
            }
            Err(_) => Err(NoAnswer::not_sent(Reason::Failed, None)),
        };
        match answer {
            Ok(answer) => match answer.status() {
                status if status.is_success() => Ok(()),
                StatusCode::PAYMENT_REQUIRED => Err(Failure::Declined),
                // Any other refusal is our own mistake, not the customer's; it was certainly not charged.
                status if status.is_client_error() && !may_have_acted(status) => {
                    tracing::error!(%status, order, "payments refused a charge of ours");
                    Err(Failure::PaymentsDown(NoAnswer::not_sent(Reason::Failed, None)))
                }
                status => Err(Failure::PaymentsDown(call::broken(status))),
            },
            Err(no_answer) => Err(Failure::PaymentsDown(no_answer)),
        }
    }

    /// Gives the money back if any was taken; a charge that is still under way will be refused.
    pub(super) async fn refund(&self, order: &str) -> Result<(), NoAnswer> {
        let request = Request::delete(format!("{}/v1/charges/{order}", self.base));
        let answer = send(&self.refunds, request, order, Bytes::new()).await?;
        if answer.status().is_success() { Ok(()) } else { Err(call::broken(answer.status())) }
    }
}

async fn send(client: &HttpClient, request: Builder, order: &str, body: Bytes) -> Result<Response<Bytes>, NoAnswer> {
    let request = request
        .header(header::CONTENT_TYPE, "application/json")
        // Payments answers the order's second charge like its first, so it may be sent again.
        .header("idempotency-key", order)
        .body(Full::new(body))
        .map_err(|_| NoAnswer::not_sent(Reason::Failed, None))?;
    call::http(client, request).await
}

fn may_have_acted(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}
