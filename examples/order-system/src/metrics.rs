//! `/metrics`: what the layers, the sagas and the barriers of this process have counted, as Prometheus' text.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::running::StartError;

/// The exporter keeps every value of a histogram until somebody asks; this often it sorts them in, if nobody does.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// From half a millisecond to what an order may take at most.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 8.0];

/// The page. Of all services that run in this process: there is one recorder a process, and it is installed here, before
/// the first call of the first service.
///
/// # Errors
///
/// Something else has been installed as the process's recorder.
pub(crate) fn page() -> Result<Router, StartError> {
    static INSTALLED: OnceLock<Result<PrometheusHandle, BuildError>> = OnceLock::new();
    let prometheus = match INSTALLED.get_or_init(install) {
        Ok(prometheus) => prometheus.clone(),
        Err(error) => return Err(format!("metrics: {error}").into()),
    };
    let show = async move || {
        buttress::metrics::observe();
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], prometheus.render()).into_response()
    };
    Ok(Router::new().route("/metrics", get(show)))
}

fn install() -> Result<PrometheusHandle, BuildError> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_attempts".into()), &[1.0, 2.0, 3.0])?
        .set_buckets_for_metric(Matcher::Suffix("_writes".into()), &[1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1000.0])?
        .install_recorder()?;
    let kept = prometheus.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            kept.run_upkeep();
        }
    });
    Ok(prometheus)
}
