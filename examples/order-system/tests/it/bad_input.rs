use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Shop, basket, is_problem};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_bad_order_is_refused_by_field_and_nothing_happens() {
    let shop = Shop::open().await;
    let line = |quantity: Value| json!({ "customer": "ada", "lines": [{ "sku": "chisel-25", "quantity": quantity }] });
    let cases = [
        (line(json!(0)), 422, "invalid-field", "lines[0].quantity"),
        (line(json!(-1)), 422, "invalid-field", "lines[0].quantity"),
        (line(json!(1_000_000_000_000_i64)), 422, "invalid-field", "lines[0].quantity"),
        (line(json!(1e30)), 422, "invalid-field", "lines[0].quantity"),
        (line(json!(1.5)), 422, "invalid-field", "lines[0].quantity"),
        (line(json!("two")), 422, "invalid-field", "lines[0].quantity"),
        (line(Value::Null), 422, "invalid-field", "lines[0].quantity"),
        (basket("ada", &[]), 422, "invalid-field", "lines"),
        (basket("ada", &[("chisel-25", 1); 51]), 422, "invalid-field", "lines"),
        (basket("ada", &[("chisel-25", 1), ("chisel-25", 1)]), 422, "invalid-field", "lines[1].sku"),
        (basket("nobody", &[("chisel-25", 1)]), 422, "invalid-field", "customer"),
        (basket("ada", &[("chisel-25", 1), ("flying-buttress", 1)]), 404, "unknown-product", "lines[1].sku"),
        (json!({ "lines": [] }), 422, "invalid-field", "body"),
        (json!({ "customer": "ada", "lines": [], "total_cents": 1 }), 422, "invalid-field", "total_cents"),
        (json!([]), 422, "invalid-field", "body"),
    ];
    for (body, status, kind, field) in cases {
        let answer = shop.customer.post("/v2/orders", &body).await;
        is_problem(&answer, status, kind);
        assert_eq!(answer.text("/field"), field, "{body} gave {}", answer.body);
    }
    shop.close().await;
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let shop = Shop::open().await;
    let customer = &shop.customer;
    for text in ["", "{", "{\"customer\": \"ada\",", "order two chisels", "{} {}", "\u{0}"] {
        let answer = customer.send(Method::POST, "/v2/orders", &[JSON], text).await;
        assert!(answer.status == 400 || answer.status == 422, "{text:?} gave {}", answer.body);
        assert_eq!(answer.text("/field"), "body");
    }
    let deep = "[".repeat(10_000);
    is_problem(&customer.send(Method::POST, "/v2/orders", &[JSON], deep).await, 422, "invalid-field");
    let not_utf8 = customer.send(Method::POST, "/v2/orders", &[JSON], &b"{\"customer\":\"\xff\"}"[..]).await;
    assert_eq!(not_utf8.status, 400, "{}", not_utf8.body);

    let form = customer.send(Method::POST, "/v2/orders", &[("content-type", "text/plain")], "{}").await;
    is_problem(&form, 415, "not-json");
    let huge = customer.send(Method::POST, "/v2/orders", &[JSON], vec![b' '; 100_000]).await;
    is_problem(&huge, 413, "body-unreadable");
    shop.close().await;
}

#[tokio::test]
async fn a_wrong_path_method_or_id_is_a_problem_too() {
    let shop = Shop::open().await;
    is_problem(&shop.customer.get("/").await, 404, "no-such-path");
    is_problem(&shop.customer.get("/v2/orders").await, 405, "method-not-allowed");
    for id in ["%ff", "a%20b", "%2e%2e", &"x".repeat(65)] {
        let answer = shop.customer.get(&format!("/v2/orders/{id}")).await;
        is_problem(&answer, 400, "invalid-id");
        assert_eq!(answer.text("/field"), "id");
    }
    let key = "k".repeat(129);
    let answer = shop.customer.order_with_key(&key, &basket("ada", &[("chisel-25", 1)])).await;
    is_problem(&answer, 400, "invalid-key");
    assert_eq!(answer.text("/field"), "Idempotency-Key");
    shop.close().await;
}
