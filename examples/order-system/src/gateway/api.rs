//! The gateway's routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::{Gateway, cancel, place, view};
use crate::web;

pub(super) fn router(gateway: Arc<Gateway>) -> Router {
    let routes = Router::new()
        .route("/v2/orders", post(place::place))
        .route("/v2/orders/{id}", get(view::view))
        .route("/v2/orders/{id}/cancel", post(cancel::cancel));
    web::finish(routes).with_state(gateway)
}
