//! Payments as orders sees it: three calls, and what became of each.

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
            Ok(body) => send(&self.charges, Request::post(format!("{}/v1/charges", self.base)), body.into()).await,
            Err(_) => Err(NoAnswer::because(Reason::Failed)),
        };
        match answer {
            Ok(answer) => match answer.status() {
                status if status.is_success() => Ok(()),
                StatusCode::PAYMENT_REQUIRED => Err(Failure::Declined),
                status => {
                    if status.is_client_error() {
                        // Our own mistake, and not the customer's.
                        tracing::error!(%status, order, "payments refused a charge of ours");
                    }
                    Err(Failure::PaymentsDown(call::broken(status)))
                }
            },
            Err(no_answer) => Err(Failure::PaymentsDown(no_answer)),
        }
    }

    /// Undoes [`charge`](Self::charge).
    pub(super) async fn give_back(&self, order: String) -> Result<(), NoAnswer> {
        self.refunding(Request::delete(format!("{}/v1/charges/{order}", self.base))).await
    }

    /// Gives back what was rightly charged.
    pub(super) async fn refund(&self, order: String) -> Result<(), NoAnswer> {
        self.refunding(Request::post(format!("{}/v1/charges/{order}/refund", self.base))).await
    }

    async fn refunding(&self, request: Builder) -> Result<(), NoAnswer> {
        let answer = send(&self.refunds, request, Bytes::new()).await?;
        if answer.status().is_success() { Ok(()) } else { Err(call::broken(answer.status())) }
    }
}

async fn send(client: &HttpClient, request: Builder, body: Bytes) -> Result<Response<Bytes>, NoAnswer> {
    let request = request
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|_| NoAnswer::because(Reason::Failed))?;
    call::http(client, request).await
}
