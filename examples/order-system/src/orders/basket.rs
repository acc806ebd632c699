//! What a customer asks for, and whether it makes sense.

use std::collections::HashSet;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::catalogue::Catalogue;
use crate::web::Problem;

const MOST_LINES: usize = 50;
const MOST_OF_A_PRODUCT: i64 = 1_000;

/// The request's body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Basket {
    customer: String,
    lines: Vec<BasketLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasketLine {
    sku: String,
    quantity: i64,
}

/// A basket that made sense, with its prices.
#[derive(Clone, Debug)]
pub(super) struct Priced {
    pub(super) customer: String,
    pub(super) card: String,
    pub(super) lines: Vec<PricedLine>,
    pub(super) total_cents: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PricedLine {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) quantity: i64,
    pub(super) unit_price_cents: i64,
}

impl Basket {
    /// Nothing is stored for a basket that is refused here.
    pub(super) fn price(&self, catalogue: &Catalogue) -> Result<Priced, Problem> {
        let customer = catalogue
            .customer(&self.customer)
            .ok_or_else(|| unprocessable("customer", "There is no such customer."))?;
        if !(1..=MOST_LINES).contains(&self.lines.len()) {
            return Err(unprocessable("lines", format!("An order has 1 to {MOST_LINES} lines.")));
        }
        let mut seen = HashSet::new();
        let mut total_cents: i64 = 0;
        let mut lines = Vec::with_capacity(self.lines.len());
        for (index, line) in self.lines.iter().enumerate() {
            if !(1..=MOST_OF_A_PRODUCT).contains(&line.quantity) {
                let detail = format!("The quantity must be from 1 to {MOST_OF_A_PRODUCT}.");
                return Err(unprocessable(format!("lines[{index}].quantity"), detail));
            }
            if !seen.insert(&line.sku) {
                let detail = "This product is in another line already; add up the quantities.";
                return Err(unprocessable(format!("lines[{index}].sku"), detail));
            }
            let product = catalogue.product(&line.sku).ok_or_else(|| unknown_product(index))?;
            total_cents = product
                .price_cents
                .checked_mul(line.quantity)
                .and_then(|cents| total_cents.checked_add(cents))
                .ok_or_else(|| unprocessable("lines", "The total is beyond what can be charged."))?;
            lines.push(PricedLine {
                sku: product.sku.clone(),
                name: product.name.clone(),
                quantity: line.quantity,
                unit_price_cents: product.price_cents,
            });
        }
        Ok(Priced { customer: customer.id.clone(), card: customer.card.clone(), lines, total_cents })
    }
}

impl Priced {
    /// Where in the request a product is named.
    pub(super) fn field_of(&self, sku: &str) -> String {
        match self.lines.iter().position(|line| line.sku == sku) {
            Some(index) => format!("lines[{index}].sku"),
            None => "lines".to_owned(),
        }
    }
}

pub(super) fn unknown_product(index: usize) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-product", "There is no such product.")
        .field(format!("lines[{index}].sku"))
}

fn unprocessable(field: impl Into<String>, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", detail).field(field)
}
