//! Orders that are sagas by definition: a hold and a tip side by side, a charge that decides, and then only forward.

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::post,
};
use buttress::{
    saga::{BeforePivot, Kind, SagaDefinition, SagaError, ServeSaga},
    step::StepOutcome,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tower::{ServiceExt, service_fn};

use super::calls::{Money, Stock};
use crate::shop::{Answered, Charge, LIMIT, Order, Receipt, Refund};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Defined {
    order: Order,
}

impl Defined {
    /// Of an order above the limit it is the tip that is refused. The charge, which decides, never is: if nobody knows what
    /// came of the attempt before, a refusal says nothing of that one, and it is tried until somebody looks at it.
    fn tip(&self) -> i64 {
        if self.order.cents > LIMIT { self.order.cents } else { 1 }
    }
}

pub(super) fn definition(stock: &Stock, money: &Money, before_pivot: BeforePivot) -> SagaDefinition<Defined, Receipt> {
    let name = if before_pivot == BeforePivot::Undo { "defined" } else { "resumed" };
    let [reserve, release, take] = ["Reserve", "Release", "Take"].map(|method| {
        let stock = stock.clone();
        service_fn(move |(order, items): (String, i64)| stock.clone().ask(method, order, items))
    });
    let [tip, charge] = [(); 2].map(|()| {
        let money = money.clone();
        service_fn(move |charge: Charge| money.clone().ask("/charges", charge))
    });
    let give_back = {
        let money = money.clone();
        service_fn(move |charge: Charge| {
            money.clone().ask("/refunds", Refund { order: charge.order, step: "tip".to_owned() })
        })
    };
    let receipt = {
        let money = money.clone();
        service_fn(move |receipt: Receipt| money.clone().ask("/receipts", receipt))
    };
    let id = |defined: &Defined| defined.order.id.clone();
    SagaDefinition::new(name, 1)
        .before_pivot(before_pivot)
        .together(|steps| {
            steps
                .step("reserve", reserve, move |defined| (id(defined), defined.order.items), |_, ()| {})
                .undo(release)
                .step("tip", tip, move |defined| Charge { order: id(defined), cents: defined.tip() }, |_, ()| {})
                .undo(give_back)
        })
        .step("charge", charge, move |defined| Charge { order: id(defined), cents: defined.order.cents }, |_, ()| {})
        .pivot()
        .step("take", take, move |defined| (id(defined), 0), |_, ()| {})
        .step("receipt", receipt, move |defined| Receipt { order: id(defined) }, |_, ()| {})
}

pub(super) fn routes(defined: ServeSaga<Defined>, resumed: ServeSaga<Defined>) -> Router {
    Router::new()
        .route("/defined", post(move |Json(order): Json<Order>| place(defined, order)))
        .route("/resumed", post(move |Json(order): Json<Order>| place(resumed, order)))
}

async fn place(saga: ServeSaga<Defined>, order: Order) -> Response {
    let id = order.id.clone();
    let (status, says) = match saga.oneshot(Defined { order }).await {
        Ok(_) => (StatusCode::CREATED, "placed"),
        Err(error) if is_refused(&error) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    // A definition doesn't tell which saga it was.
    (status, Json(Answered { order: id, saga: String::new(), says: says.to_owned() })).into_response()
}

/// Then it is undone, or about to be.
fn is_refused(error: &SagaError) -> bool {
    matches!(error.kind(), Kind::Step { outcome: StepOutcome::Refused, .. })
}
