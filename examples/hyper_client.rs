//! A hyper client that tries again, within a budget and a deadline, behind a circuit breaker.
//!
//! ```text
//! cargo run --example hyper_client
//! ```

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use buttress::{BoxError, CircuitBreakerLayer, RetryLayer, TimeoutLayer};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = flaky_server().await?;

    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let retry = RetryLayer::http("payments").max_attempts(3);
    let handle = retry.handle();
    let mut payments = ServiceBuilder::new()
        .layer(TimeoutLayer::http("payments").within(Duration::from_secs(2))) // the whole exchange
        .layer(retry)
        .layer(CircuitBreakerLayer::http("payments"))
        .layer(TimeoutLayer::http("payments-attempt").within(Duration::from_millis(500))) // each attempt
        .service(client);

    let request = Request::post(format!("http://{address}/charges"))
        .header("idempotency-key", "order-42") // without it, a POST is sent once
        .body(Full::from("1999"))?;
    let response = payments.ready().await?.call(request).await?;
    println!("{}", response.status());
    println!("{}", String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()));
    println!("after {} retries", handle.snapshot().retries);
    Ok(())
}

/// Answers every third request.
async fn flaky_server() -> std::io::Result<SocketAddr> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let charge = async |cents: String| match ASKED.fetch_add(1, Relaxed) % 3 {
        2 => Ok(format!("charged {cents} cents")),
        _ => Err(StatusCode::SERVICE_UNAVAILABLE),
    };
    let app = Router::new().route("/charges", post(charge));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}
