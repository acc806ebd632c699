//! The examples, run as a user would run them. `cargo test` builds them beside this binary.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::task::JoinSet;

fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let path = target.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{name} isn't built: run `cargo test`, or `cargo build --examples` first");
    Command::new(path)
}

/// What an example prints until it ends well.
fn printed_by(name: &str) -> Vec<String> {
    let output = example(name).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn plain_service() {
    let printed = printed_by("plain_service");
    assert_eq!(printed[0], "127.0.0.1: 127.0.0.1");
    assert_eq!(printed[3], "nowhere: invalid IP address syntax");
    let wait = printed[4].strip_prefix("127.0.0.1: refused, lookup: circuit open; try again in ").unwrap();
    assert!(wait.strip_suffix(" ms").unwrap().parse::<u32>().unwrap() <= 100, "{wait}");
    assert_eq!(printed[5], "127.0.0.1: 127.0.0.1, as a probe");
    assert_eq!(printed.last().unwrap(), "::1: ::1");
}

#[test]
fn tonic_client() {
    let printed = printed_by("tonic_client");
    assert_eq!(printed[0], "Serving; the breaker is Closed");
    assert_eq!(printed[1], "NotFound; the breaker is Closed");
    assert_eq!(printed[2], "Unavailable, stocktaking; the breaker is Closed");
    assert_eq!(printed[4], "Unavailable, inventory: circuit open; the breaker is Open");
}

#[test]
fn hyper_client() {
    assert_eq!(printed_by("hyper_client"), ["200 OK", "charged 1999 cents", "after 2 retries"]);
}

#[test]
fn participant() {
    let printed = printed_by("participant");
    let answers: Vec<_> = printed.iter().filter(|line| line.contains("refused")).map(|line| line.trim()).collect();
    let (done, fenced, gone) = ("200 OK, refused: false", "409 Conflict, refused: false", "410 Gone, refused: true");
    assert_eq!(answers, [done, done, done, fenced, done, gone]);
    let effects = printed.iter().filter(|line| line.contains("charging") || line.contains("refunding"));
    assert_eq!(effects.collect::<Vec<_>>(), ["  charging", "  refunding charge 1"]);
}

/// Ended with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn axum_server() {
    let mut server = Server(example("axum_server").arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    // Held to the end, for the server goes on printing.
    let mut printed = BufReader::new(server.0.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();

    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut orders = JoinSet::new();
    for _ in 0..4 {
        let (client, order) = (client.clone(), Request::post(format!("{url}/orders")).body(Full::default()).unwrap());
        orders.spawn(async move { client.request(order).await.unwrap().status() });
    }
    let mut answers = orders.join_all().await;
    answers.sort();
    let (ok, refused) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answers, [ok, ok, refused, refused]);
    let health = Request::get(format!("{url}/health")).body(Full::default()).unwrap();
    assert_eq!(client.request(health).await.unwrap().status(), ok);
}

#[test]
fn settings_file() {
    let file = std::env::temp_dir().join(format!("buttress-settings-{}.toml", std::process::id()));
    let (new, first) = (file.with_extension("new"), "[payments]\nretry.max_attempts = 4\n");
    fs::write(&file, first).unwrap();
    let mut command = example("settings_file");
    command.arg(&file).env("PAYMENTS__TIMEOUT__WITHIN", "4s").env("PAYMENTS__BULKHEAD__MAX_QUEUE", "7");
    let mut process = Server(command.stdout(Stdio::piped()).spawn().unwrap());
    let (lines, printed) = mpsc::channel();
    let output = BufReader::new(process.0.stdout.take().unwrap());
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    let next = || printed.recv_timeout(Duration::from_secs(30)).unwrap();

    assert_eq!(next(), "payments.bulkhead.max_queue: 100 -> 7");
    assert_eq!(next(), "payments.retry.max_attempts: 3 -> 4");
    assert_eq!(next(), "payments.timeout.within: \"5s\" -> \"4s\"");
    assert!(next().starts_with("running; edit "));
    // As an editor does.
    let replace = |text: &str| {
        fs::write(&new, text).unwrap();
        fs::rename(&new, &file).unwrap();
    };
    replace("[payments]\nretry.max_attempts = 5\n");
    assert_eq!(next(), "payments.retry.max_attempts: 4 -> 5");
    let calls = next().strip_prefix("applied; the breaker still knows ").unwrap().to_owned();
    assert_ne!(calls, "0 calls");
    replace("[payments]\nretry.max_attempts = 0\ntimeout.within = '9s'\n");
    let problem = "the old settings stay: invalid setting payments.retry.max_attempts: 0 is not between 1 and 100";
    assert_eq!(next(), problem);
    replace("[payments]\nattempt_timeout.within = '4s'\n");
    let problem = "an attempt may take 4s, which is not less than the whole's 4s";
    assert_eq!(next(), format!("the old settings stay: invalid setting payments.attempt_timeout.within: {problem}"));
    fs::write(&file, "[payments\n").unwrap();
    assert!(next().starts_with("the old settings stay: TOML parse error at line 1"));
    replace("[payments]\nretry.max_attempts = 6\ncircuit_breaker.ramp = '30s'\n");
    let (rest, is) = ("payments.circuit_breaker.ramp: \"off\" -> \"30s\"", "payments.retry.max_attempts: 5 -> 6");
    let lines: Vec<_> = std::iter::repeat_with(next).skip_while(|line| line != rest).take(2).collect();
    assert_eq!(lines, [rest, is]);
    fs::remove_file(&file).unwrap();
}
