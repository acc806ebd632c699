//! `/metrics` of each service, held to the books and to the verdict.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use order_system::DataDir;
use sqlx::{ConnectOptions, Connection};

use crate::processes::{Fleet, Process, audited};
use crate::support::{Customer, basket, eventually};

/// What a service's page says.
pub struct Page(String);

impl Page {
    pub async fn of(process: &Process) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = client.get(format!("{}/metrics", process.url()).parse().unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        Self(String::from_utf8(text.to_vec()).unwrap())
    }

    /// The sum of the series of this name with all of these labels.
    pub fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> u64 {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let of_it = |line: &&str| {
            line.starts_with(&format!("buttress_{metric}{{")) && labels.iter().all(|label| line.contains(label))
        };
        let values = self.0.lines().filter(of_it).map(|line| line.rsplit_once(' ').unwrap().1);
        values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
    }

    fn sagas(&self, metric: &str) -> u64 {
        self.sum(&format!("saga_{metric}"), &[("policy", "saga")])
    }

    fn ended(&self, outcome: &str) -> u64 {
        self.sum("saga_ended_total", &[("outcome", outcome)])
    }

    fn barrier(&self, name: &str, what: &str, outcome: &str) -> u64 {
        self.sum(&format!("barrier_{what}_total"), &[("name", name), ("outcome", outcome)])
    }

    /// What came of all calls through the breaker of this name.
    fn through(&self, breaker: &str) -> u64 {
        self.sum("calls_total", &[("policy", "circuit_breaker"), ("name", breaker)])
    }

    fn served(&self, name: &str) -> u64 {
        self.sum("calls_total", &[("policy", "bulkhead"), ("name", name)])
    }
}

async fn count(data: &DataDir, service: &str, sql: &'static str) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.database(service)).read_only(true);
    let mut books = options.connect().await.unwrap();
    let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut books).await.unwrap();
    books.close().await.unwrap();
    count.try_into().unwrap()
}

#[tokio::test]
async fn what_is_counted_is_what_the_books_and_the_verdict_say() {
    let fleet = Fleet::start(&["--fail-payments", "0.2", "--seed", "7"]).await;
    let [orders, payments, inventory] = [&fleet.orders, &fleet.payments, &fleet.inventory].map(Process::url);
    let callees = ["--orders", &orders, "--payments", &payments, "--inventory", &inventory];
    let gateway = Process::start("gateway", &fleet.data, &callees).await;
    let customer = Customer::at(gateway.address());
    let mut confirmed = Vec::new();
    for number in 0..40 {
        // One in eight has a card that is declined.
        let who = if number % 8 == 0 { "iris" } else { "ada" };
        let placed = customer.order(who, &[("chisel-25", 1 + number % 3)]).await;
        if placed.status == 201 {
            confirmed.push(placed.text("/id").to_owned());
        }
    }
    let order = basket("ada", &[("rope-hemp", 1)]);
    let key = "a-key-of-mine";
    for _ in 0..3 {
        customer.order_with_key(key, &order).await;
    }
    for id in &confirmed[..4] {
        customer.cancel(id).await;
    }
    let page = eventually(async || {
        let page = Page::of(&fleet.orders).await;
        (page.sagas("in_flight") == 0).then_some(page)
    })
    .await;
    let (of_payments, of_inventory) = (Page::of(&fleet.payments).await, Page::of(&fleet.inventory).await);
    let of_gateway = Page::of(&gateway).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    let data = fleet.stop().await;
    let (code, verdict) = audited(&data).await;
    assert_eq!(code, Some(0), "{verdict}");

    // Sagas, and what they came to.
    let (committed, undone, parked) = (page.ended("committed"), page.ended("undone"), page.ended("parked"));
    let sagas = format!("{} sagas: {committed} committed, {undone} undone, {parked} parked", committed + undone);
    assert!(verdict.contains(&sagas), "{sagas} / {verdict}");
    assert!(committed > 0 && undone > 0, "{sagas}");
    let placed = page.sum("saga_ended_total", &[("name", "place-order"), ("outcome", "committed")]);
    let cancelled = page.sum("saga_ended_total", &[("name", "cancel-order"), ("outcome", "committed")]);
    let rejected = page.sum("saga_ended_total", &[("name", "place-order"), ("outcome", "undone")]);
    let told = format!("{} confirmed, {rejected} rejected, {cancelled} cancelled", placed - cancelled);
    assert!(verdict.contains(&told), "{told} / {verdict}");
    let ended: u64 = ["committed", "undone", "abandoned", "parked", "let_go", "lost", "blank"]
        .map(|how| page.ended(how))
        .iter()
        .sum();
    assert_eq!(page.sagas("begun_total"), ended);
    assert_eq!((page.sagas("parked"), page.sagas("taken_over_total")), (0, 0));

    // Barriers, and the table in which they note what they did.
    for (page, name) in [(&page, "orders"), (&of_payments, "payments"), (&of_inventory, "inventory")] {
        let done = count(&data, name, "SELECT count(*) FROM saga_barrier WHERE op = 0 AND placed_by = 0").await;
        let refused = count(&data, name, "SELECT count(*) FROM saga_barrier WHERE op = 0 AND placed_by = 2").await;
        let undone = count(&data, name, "SELECT count(*) FROM saga_barrier WHERE op = 1").await;
        assert_eq!(page.barrier(name, "acts", "done"), done, "{name}");
        assert_eq!(page.barrier(name, "acts", "refused"), refused, "{name}");
        assert_eq!(page.barrier(name, "undos", "done") + page.barrier(name, "undos", "nothing"), undone, "{name}");
    }

    // What the clients' breakers let through is what the servers' bulkheads let in: each attempt is one of both, but for those
    // whose time ran out on the way.
    let late = page.sum("timeout_elapsed_total", &[]) + of_gateway.sum("timeout_elapsed_total", &[]);
    let sent = page.through("orders.charges") + page.through("orders.refunds") + of_gateway.through("gateway.payments");
    let served = of_payments.served("payments");
    assert!(served <= sent && sent <= served + late, "{sent} sent, {served} served, {late} late");
    let sent = page.through("orders.inventory") + of_gateway.through("gateway.inventory");
    let served = of_inventory.served("inventory");
    assert!(served <= sent && sent <= served + late, "{sent} sent, {served} served, {late} late");
    assert_eq!(page.sum("circuit_breaker_state", &[("state", "closed")]), 3);

    // The journal is written by this coordinator alone.
    let journal = [("policy", "saga_journal"), ("name", "orders")];
    assert!(
        page.sum("saga_journal_batch_writes_sum", &journal) >= page.sum("saga_journal_batch_writes_count", &journal)
    );
    assert_eq!(page.sum("saga_journal_waiting", &journal), 0);
    data.remove().unwrap();
}

/// Who reads the page shouldn't have to look anything up.
#[tokio::test]
async fn every_metric_of_a_page_is_described() {
    let fleet = Fleet::start(&[]).await;
    let customer = Customer::at(fleet.orders.address());
    customer.order_behind_the_gateway(&basket("ada", &[("chisel-25", 1)])).await;
    for process in [&fleet.orders, &fleet.payments, &fleet.inventory] {
        let Page(text) = Page::of(process).await;
        let kinds: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(kinds.len() > 10, "{text}");
        for kind in kinds {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
            assert_ne!(kind, "summary", "{name} has no buckets");
        }
    }
    fleet.stop().await.remove().unwrap();
}
