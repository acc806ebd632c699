//! A circuit breaker around a service that has nothing to do with HTTP, and around a piece of code without tower.
//!
//! ```text
//! cargo run --example plain_service
//! ```

use std::{net::IpAddr, time::Duration};

use buttress::{BoxError, CircuitBreakerLayer, Rejection, circuit_breaker::CircuitBreaker};
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let layer = CircuitBreakerLayer::new("lookup").consecutive_failures(3).open_for(Duration::from_millis(100));
    let breaker = layer.handle();
    let mut lookup = ServiceBuilder::new().layer(layer).service_fn(look_up);

    for host in ["127.0.0.1", "nowhere", "nowhere", "nowhere", "127.0.0.1"] {
        match lookup.ready().await?.call(host).await {
            Ok(address) => println!("{host}: {address}"),
            Err(error) => match Rejection::find(&error) {
                Some(rejection) => println!("{host}: refused, {rejection}{}", again(rejection)),
                None => println!("{host}: {error}"),
            },
        }
    }

    // Once it has been open for long enough, the next call is a probe.
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("127.0.0.1: {}, as a probe", lookup.ready().await?.call("127.0.0.1").await?);
    println!("the breaker is {}", breaker.state());

    without_tower(&CircuitBreaker::new("inline"))?;
    Ok(())
}

/// When it is worth trying again, for people.
fn again(rejection: &Rejection) -> String {
    rejection.retry_after().map_or(String::new(), |wait| format!("; try again in {} ms", wait.as_millis()))
}

async fn look_up(host: &'static str) -> Result<IpAddr, BoxError> {
    Ok(host.parse()?)
}

fn without_tower(breaker: &CircuitBreaker) -> Result<(), BoxError> {
    let permit = breaker.try_acquire()?;
    match "::1".parse::<IpAddr>() {
        Ok(address) => {
            permit.success();
            println!("::1: {address}");
        }
        Err(_) => permit.failure(),
    }
    Ok(())
}
