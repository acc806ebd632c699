//! A scrape: Prometheus' text over HTTP.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use axum::{Router, body::Body, extract::State, routing::get};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::{everything, table};

/// The process' recorder, set up as the documentation does it.
pub(crate) fn prometheus() -> PrometheusHandle {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[0.001, 0.1, 1.0, 5.0])
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_attempts".into()), &[1.0, 2.0, 3.0]))
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_writes".into()), &[1.0, 10.0]));
        builder.unwrap().install_recorder().unwrap()
    };
    INSTALLED.get_or_init(install).clone()
}

/// The page that the documentation shows.
pub(crate) fn page() -> Router {
    async fn metrics(State(prometheus): State<PrometheusHandle>) -> String {
        buttress::metrics::observe();
        prometheus.render()
    }
    Router::new().route("/metrics", get(metrics)).with_state(prometheus())
}

/// What a server with these pages says on this path.
pub(crate) async fn fetch(app: Router, path: &str, times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut text = Vec::new();
    for _ in 0..times {
        let answer = client.get(format!("http://{address}{path}").parse().unwrap()).await.unwrap();
        text = answer.into_body().collect().await.unwrap().to_bytes().to_vec();
    }
    server.abort();
    String::from_utf8(text).unwrap()
}

/// A metric: its type, and the values of each of its own labels.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The metrics in a scrape.
fn seen(text: &str) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::<String, Seen>::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            all.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((name, rest)) = line.split_once('{') {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let name = base.filter(|base| all.contains_key(*base)).unwrap_or(name);
            let labels = rest.rsplit_once('}').expect("a line ends with its value").0;
            let metric = all.get_mut(name).expect("the type comes first");
            for (label, value) in labels.split(',').map(|label| label.split_once('=').unwrap()) {
                metric.labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }
    all.retain(|name, _| name.starts_with("buttress_"));
    for (name, metric) in &mut all {
        for common in ["policy", "name"] {
            assert!(metric.labels.remove(common).is_some(), "{name} has no label {common}");
        }
        metric.labels.remove("le");
    }
    all
}

#[test]
fn a_scrape_has_every_metric_of_the_table_and_no_other() {
    let scrape = &everything::happened().page;
    let mut seen = seen(scrape);
    let states = seen["buttress_circuit_breaker_state"].labels["state"].clone();
    for row in table::rows("metric") {
        let [name, kind, labels, meaning] = &row[..] else { panic!("not four columns: {row:?}") };
        let name = table::quoted(name).next().unwrap();
        let metric = seen.remove(&name).unwrap_or_else(|| panic!("{name} is in the table and not in the scrape"));
        assert_eq!(metric.kind, *kind, "{name}");
        let labels: BTreeSet<_> = table::quoted(labels).collect();
        assert_eq!(metric.labels.keys().cloned().collect::<BTreeSet<_>>(), labels, "{name}");
        let mut documented: BTreeSet<_> = table::quoted(meaning).collect();
        if name == "buttress_circuit_breaker_transitions_total" {
            documented.extend(states.clone());
        }
        // But for the name of a partition, the values are a closed set; and who says which says all.
        for (label, values) in metric.labels.iter().filter(|(label, _)| *label != "partition") {
            for value in values {
                assert!(documented.contains(value), "{name} has a {label} that the table doesn't name: {value}");
            }
        }
        let seen: BTreeSet<_> = metric.labels.values().flatten().collect();
        let named = table::quoted(meaning).filter(|value| !labels.contains(value));
        let unseen: Vec<_> = named.filter(|value| !seen.contains(value)).collect();
        assert!(unseen.is_empty(), "{name} never has what the table names: {unseen:?}");
        assert!(scrape.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    assert!(seen.is_empty(), "in the scrape and not in the table: {:?}", seen.keys());
}
