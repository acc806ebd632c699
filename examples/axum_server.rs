//! An axum server that works on two orders at a time, refuses the rest, and says when it is refusing.
//!
//! ```text
//! cargo run --example axum_server
//! for i in 1 2 3 4; do curl -si -X POST localhost:3000/orders | head -1 & done; wait
//! ```

use std::time::Duration;

use axum::{
    Router,
    routing::{get, post},
};
use buttress::{BulkheadLayer, TimeoutLayer, bulkhead::Bulkhead};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let limit = BulkheadLayer::http("orders").max_concurrent(2);
    tokio::spawn(tell_of_refusals(limit.handle()));
    let app = Router::new()
        .route("/orders", post(place))
        .layer(limit)
        // Added after the limit, so outside it: it can be asked how things are even when the limit is reached.
        .route("/health", get(async || "up\n"))
        .layer(TimeoutLayer::http("inbound").within(Duration::from_secs(5)));
    // axum applies the layers anew for every connection. They hold all the same: a layer is its policy.
    axum::serve(listener, app).await
}

async fn place() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "placed\n"
}

async fn tell_of_refusals(bulkhead: Bulkhead) {
    let mut told = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = bulkhead.snapshot();
        if now.rejected.full > told {
            told = now.rejected.full;
            println!("{} of {} permits in use, {told} calls refused so far", now.in_flight, now.limit);
        }
    }
}
