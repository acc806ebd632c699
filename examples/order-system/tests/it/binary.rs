//! The program itself.

use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::processes::order_system;
use crate::support::{Customer, PATIENCE, eventually, is_problem};
use crate::verdict::books_with;

async fn run(arguments: &[&str]) -> (Output, String) {
    let output = timeout(PATIENCE, order_system().args(arguments).output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[tokio::test]
async fn the_demo_is_bounded_and_judges_itself() {
    let (output, text) = run(&["demo", "--orders", "50", "--fail-payments", "0.1", "--seed", "5"]).await;
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("50 orders in "), "{text}");
    assert!(text.contains("p50") && text.contains("p90") && text.contains("p99") && text.contains("max"), "{text}");
    for policy in ["breaker    orders.charges", "bulkhead   orders.refunds", "bulkhead   inventory"] {
        assert!(text.contains(policy), "{text}");
    }
    let verdict = text.lines().find(|line| line.starts_with("VERDICT 50 orders: ")).expect(&text);
    assert!(verdict.contains(", 0 cancelled, 0 stuck, 0 double charges; 50 sagas: "), "{text}");
    assert!(verdict.ends_with(" undone, 0 parked, 0 unfinished; stock and money balance"), "{text}");
    let databases = text.lines().find_map(|line| line.strip_prefix("databases  ")).unwrap();
    assert!(!std::path::Path::new(databases).exists());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn books_that_do_not_balance_are_exit_code_1() {
    let data = books_with("payments", "UPDATE entry SET amount_cents = amount_cents + 1 WHERE id = 1").await;
    let directory = data.path().to_str().unwrap();
    let (output, text) = run(&["audit", "--data-dir", directory]).await;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("stock balances, money does NOT"), "{text}");
    // A run over the same books finds it too, though all its own orders are right.
    let (output, text) = run(&["demo", "--orders", "5", "--data-dir", directory]).await;
    assert_eq!(output.status.code(), Some(1), "{text}");
    data.remove().unwrap();
}

#[tokio::test]
async fn wrong_arguments_are_explained() {
    for arguments in [
        &["demo", "--fail-payments", "1.5"][..],
        &["demo", "--chaos", "2"],
        &["--rate", "fast"],
        &["demo", "--orders", "0"],
    ] {
        let (output, _) = run(arguments).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("invalid value"), "{arguments:?}");
    }
    let (output, _) = run(&["audit", "--data-dir", "/nowhere/at/all"]).await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn it_runs_until_ctrl_c_and_ends_with_the_verdict() {
    let mut child = order_system().args(["--rate", "10"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut gateway = None;
    let mut printed = String::new();
    let watch = async {
        let mut live = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            printed.push_str(&line);
            printed.push('\n');
            if let Some(address) = line.strip_prefix("gateway    http://") {
                gateway = Some(address.parse().unwrap());
            }
            live += usize::from(line.contains(" orders/s "));
            if live == 2 {
                // Its data files name this customer and product, as the curl line it printed does.
                let customer = Customer::at(gateway.unwrap());
                // A machine that is busy with other tests may be too slow for the first.
                eventually(async || {
                    let placed = customer.order("ada", &[("chisel-25", 2)]).await;
                    (placed.status == 201).then_some(())
                })
                .await;
                is_problem(&customer.get("/").await, 404, "no-such-path");
                let interrupt = Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status();
                assert!(interrupt.await.unwrap().success());
                live += 1;
            }
        }
    };
    timeout(PATIENCE, watch).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "{printed}");
    assert!(printed.contains("try: curl "), "{printed}");
    assert!(printed.lines().last().unwrap().ends_with("stock and money balance"), "{printed}");
}
