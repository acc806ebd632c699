//! Payments as orders sees it: two calls, and what became of each.

use std::net::SocketAddr;

use axum::http::{Method, Request, Response, StatusCode, header};
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
    client: HttpClient,
    base: String,
}

impl Payments {
    pub(super) fn new(client: HttpClient, address: SocketAddr) -> Self {
        Self { client, base: format!("http://{address}") }
    }

    pub(super) async fn charge(&self, order: &str, card: &str, cents: i64) -> Result<(), Failure> {
        let charge = NewCharge { order_id: order, card, amount_cents: cents };
        let answer = match serde_json::to_vec(&charge) {
            Ok(body) => self.send(Method::POST, "/v1/charges".to_owned(), order, body.into()).await,
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
        let answer = self.send(Method::DELETE, format!("/v1/charges/{order}"), order, Bytes::new()).await?;
        if answer.status().is_success() { Ok(()) } else { Err(call::broken(answer.status())) }
    }

    async fn send(&self, method: Method, path: String, order: &str, body: Bytes) -> Result<Response<Bytes>, NoAnswer> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            // Payments answers the order's second charge like its first, so it may be sent again.
            .header("idempotency-key", order)
            .body(Full::new(body))
            .map_err(|_| NoAnswer::not_sent(Reason::Failed, None))?;
        call::http(&self.client, request).await
    }
}

fn may_have_acted(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}
