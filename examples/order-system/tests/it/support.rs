//! A shop of its own for every test, a customer, and a bank that does as it is told.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request, StatusCode};
use buttress::step::{Op, SagaId, StepContext, StepHeaders, StepKey};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use order_system::payments::Faults;
use order_system::{Chaos, DataDir, Running, audit, gateway, inventory, orders, payments};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

pub const PATIENCE: Duration = Duration::from_secs(10);

pub async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An address that refuses connections.
pub async fn nobody() -> SocketAddr {
    listener().await.local_addr().unwrap()
}

/// Polls until `check` gives something.
pub async fn eventually<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, poll).await.expect("it never came to be")
}

/// A saga that somebody carries out by hand, step by step.
#[derive(Clone, Debug)]
pub struct ByHand {
    saga: SagaId,
    epoch: u64,
}

impl ByHand {
    pub fn saga() -> Self {
        Self { saga: SagaId::new(), epoch: 1 }
    }

    /// The same saga in the hands of the next coordinator.
    pub fn taken_over(&self) -> Self {
        Self { epoch: self.epoch + 1, ..self.clone() }
    }

    pub fn step(&self, name: &'static str, op: Op) -> StepContext {
        StepContext::new(StepKey::new(self.saga, name, 0, op).unwrap(), self.epoch)
    }

    pub fn headers(&self, name: &'static str, op: Op) -> HeaderMap {
        let mut headers = HeaderMap::new();
        StepHeaders::of(&self.step(name, op)).write(&mut headers);
        headers
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {}", self.body))
    }
}

/// Someone at an address.
#[derive(Clone, Debug)]
pub struct Customer {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Customer {
    pub fn at(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base: format!("http://{address}") }
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.exchange(request.body(Full::new(body.into())).unwrap()).await
    }

    /// In a step of a saga.
    pub async fn send_in(&self, step: HeaderMap, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request.headers_mut().unwrap().extend(step);
        let request = request.header("content-type", "application/json");
        self.exchange(request.body(Full::new(body.into())).unwrap()).await
    }

    /// As [`send`](Self::send) with an idempotency key or without; nothing if nobody answers to the end.
    pub async fn try_post(&self, path: &str, key: Option<&str>, body: String) -> Option<Answer> {
        let mut request = Request::post(format!("{}{path}", self.base)).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.try_exchange(request.body(Full::new(body.into())).unwrap()).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        self.try_exchange(request).await.expect("no answer")
    }

    async fn try_exchange(&self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let response = self.client.request(request).await.ok()?;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.ok()?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"));
        Some(Answer { status: head.status, headers: head.headers, body })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn order(&self, customer: &str, lines: &[(&str, i64)]) -> Answer {
        self.post("/v2/orders", &basket(customer, lines)).await
    }

    pub async fn cancel(&self, id: &str) -> Answer {
        self.send(Method::POST, &format!("/v2/orders/{id}/cancel"), &[], "").await
    }

    /// At orders itself, which gives nobody a key.
    pub async fn order_behind_the_gateway(&self, body: &Value) -> Answer {
        let key = format!("key-{}", SagaId::new());
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        self.send(Method::POST, "/v1/orders", &headers, body.to_string()).await
    }

    pub async fn order_with_key(&self, key: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.send(Method::POST, "/v2/orders", &headers, body.to_string()).await
    }
}

pub fn basket(customer: &str, lines: &[(&str, i64)]) -> Value {
    let lines: Vec<_> =
        lines.iter().map(|(sku, quantity)| serde_json::json!({ "sku": sku, "quantity": quantity })).collect();
    serde_json::json!({ "customer": customer, "lines": lines })
}

/// The system put together by hand, so that a test can put something else in a service's place.
pub struct Shop {
    pub data: DataDir,
    pub customer: Customer,
    pub gateway: Running,
    pub orders: Option<Running>,
    pub inventory: Option<Running>,
    pub payments: Option<Running>,
}

impl Shop {
    pub async fn open() -> Self {
        Self::with_faults(Faults::none()).await
    }

    pub async fn with_faults(faults: Faults) -> Self {
        let data = DataDir::temporary().unwrap();
        let settings = payments::Settings { database: data.database("payments"), faults, chaos: Chaos::default() };
        let payments = payments::start(listener().await, settings).await.unwrap();
        let address = payments.address();
        Self { payments: Some(payments), ..Self::over(data, address).await }
    }

    /// With something else where payments should be.
    pub async fn with_payments_at(address: SocketAddr) -> Self {
        Self::over(DataDir::temporary().unwrap(), address).await
    }

    pub async fn over(data: DataDir, payments: SocketAddr) -> Self {
        let settings = inventory::Settings { database: data.database("inventory"), chaos: Chaos::default() };
        let inventory = inventory::start(listener().await, settings).await.unwrap();
        let orders = start_orders(&data, inventory.address(), payments).await;
        let settings = gateway::Settings { orders: orders.address(), payments, inventory: inventory.address() };
        let gateway = gateway::start(listener().await, settings).await.unwrap();
        Self {
            data,
            customer: Customer::at(gateway.address()),
            gateway,
            orders: Some(orders),
            inventory: Some(inventory),
            payments: None,
        }
    }

    /// Closes, audits, and clears up.
    pub async fn close(self) {
        let Self { data, gateway, orders, inventory, payments, .. } = self;
        gateway.stop().await;
        for service in [orders, inventory, payments].into_iter().flatten() {
            service.stop().await;
        }
        // A stand-in for payments keeps no books.
        if data.database("payments").exists() {
            let verdict = audit::audit(&data).await.unwrap();
            assert!(verdict.holds(), "{verdict}");
        }
        data.remove().unwrap();
    }
}

pub async fn start_orders(data: &DataDir, inventory: SocketAddr, payments: SocketAddr) -> Running {
    let settings = orders::Settings { database: data.database("orders"), journal: data.journal(), inventory, payments };
    orders::start(listener().await, settings).await.unwrap()
}

pub fn is_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.text("/type"), format!("/problems/{kind}"), "{}", answer.body);
    assert_eq!(answer.body["status"], status);
    assert!(!answer.text("/title").is_empty() && !answer.text("/detail").is_empty());
}
