//! A tonic client behind a circuit breaker, which opens on what a gRPC server says in its trailers.
//!
//! ```text
//! cargo run --example tonic_client
//! ```

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use buttress::{BoxError, CircuitBreakerLayer};
use tokio::net::TcpListener;
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::ServiceBuilder;

static DOWN: AtomicBool = AtomicBool::new(false);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Any server of yours will do; this one is tonic's own health service, which can be made to fail.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let health = InterceptedService::new(health, |request| match DOWN.load(Relaxed) {
        true => Err(Status::unavailable("stocktaking")),
        false => Ok(request),
    });
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(TcpIncoming::from(listener)));

    let layer = CircuitBreakerLayer::grpc("inventory").consecutive_failures(2).open_for(Duration::from_secs(30));
    let breaker = layer.handle();
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let channel = ServiceBuilder::new().layer(layer).service(channel);
    let mut inventory = HealthClient::new(channel);

    let up = inventory.check(HealthCheckRequest::default()).await?;
    println!("{:?}; the breaker is {:?}", up.into_inner().status(), breaker.state());

    // The caller's own fault is no failure of the server's.
    let unknown = inventory.check(HealthCheckRequest { service: "unknown".into() }).await.unwrap_err();
    println!("{:?}; the breaker is {:?}", unknown.code(), breaker.state());

    DOWN.store(true, Relaxed);
    for _ in 0..3 {
        let down = inventory.check(HealthCheckRequest::default()).await.unwrap_err();
        println!("{:?}, {}; the breaker is {:?}", down.code(), down.message(), breaker.state());
    }
    Ok(())
}
