//! What reads the words of others, for `fuzz/` to feed it nonsense. Built only by cargo-fuzz, which sets `cfg(fuzzing)`.
//!
//! Each of these takes any bytes, and panics if what was read breaks a law: it is within its limits, and written again it
//! reads as the same.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use crate::{
    config::LONGEST,
    deadline::header::{Format, GrpcTimeout, Millis},
    protocol::{
        Http,
        grpc::{self, Code},
        rate_limit::{self, RATE_LIMIT},
        retry_after::{self, PUSHBACK, Pushback},
    },
    retry::{Attempt, GRPC_PREVIOUS_ATTEMPTS, HTTP_PREVIOUS_ATTEMPTS},
    saga::{
        idempotency::{self, Keep, StoredAnswer},
        protocol::Admit,
    },
    step::{IDEMPOTENCY_KEY, LARGEST_EPOCH, SAGA_EPOCH, SAGA_ID, SAGA_STEP, StepHeaders, StepKey},
};

/// `Retry-After`, and the `Date` beside it.
pub fn retry_after(data: &[u8]) {
    let headers = headers(data, &[http::header::RETRY_AFTER, http::header::DATE]);
    let Some(asked) = retry_after::http(&headers) else { return };
    assert!(asked <= LONGEST, "{asked:?} is more than a year");
    // A date is held against the clock if there is no other beside it, and only then has parts of a second.
    if asked.subsec_nanos() == 0 {
        let again = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from(asked.as_secs()))]);
        assert_eq!(retry_after::http(&again), Some(asked));
    } else {
        let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        assert!(date.is_none_or(|date| httpdate::parse_http_date(date).is_err()));
    }
}

/// `RateLimit`, which may come in several lines.
pub fn rate_limit(data: &[u8]) {
    let headers = headers(data, &[RATE_LIMIT, RATE_LIMIT, RATE_LIMIT]);
    let Some(more_in) = rate_limit::exhausted_for(&headers) else { return };
    assert!(more_in <= LONGEST, "{more_in:?} is more than a year");
    let again = format!("\"again\";r=0;t={}", more_in.as_secs());
    let again = HeaderMap::from_iter([(RATE_LIMIT, HeaderValue::try_from(again).expect("it is ASCII"))]);
    assert_eq!(rate_limit::exhausted_for(&again), Some(more_in));
}

/// `grpc-retry-pushback-ms`, `grpc-status`, and what is said in `grpc-message`.
pub fn grpc_status(data: &[u8]) {
    let trailers = headers(data, &[HeaderName::from_static(PUSHBACK), HeaderName::from_static(grpc::STATUS)]);
    if let Some(Pushback::After(after)) = retry_after::grpc(&trailers) {
        assert!(after <= Duration::from_millis(i32::MAX as u64));
        let again = HeaderMap::from_iter([(HeaderName::from_static(PUSHBACK), grpc::pushback(after))]);
        assert_eq!(retry_after::grpc(&again), Some(Pushback::After(after)));
    }
    if let Some(code) = Code::read(&trailers) {
        let message = String::from_utf8_lossy(data);
        let again = grpc::trailers_only(code, &message);
        assert_eq!(Code::read(again.headers()), Some(code));
        let said = again.headers().get("grpc-message").expect("any text can be said");
        assert_eq!(percent_decoded(said.as_bytes()), message.as_bytes());
    }
}

/// `grpc-timeout` and `x-request-timeout-ms`.
pub fn timeout(data: &[u8]) {
    fn reads_as_the_same<F: Format>(data: &[u8]) {
        let headers = headers(data, &[F::HEADER]);
        let Ok(Some(left)) = F::read(&headers) else { return };
        let mut again = HeaderMap::new();
        F::write(&mut again, left);
        assert_eq!(F::read(&again).ok().flatten(), Some(left), "{left:?} was written as {again:?}");
    }
    reads_as_the_same::<GrpcTimeout>(data);
    reads_as_the_same::<Millis>(data);
}

/// Which attempt a request is.
pub fn attempt(data: &[u8]) {
    for header in [GRPC_PREVIOUS_ATTEMPTS, HTTP_PREVIOUS_ATTEMPTS] {
        let attempt = Attempt::from_headers(&headers(data, &[header.clone()]));
        let again = HeaderMap::from_iter([(header, HeaderValue::from(attempt.previous()))]);
        assert_eq!(Attempt::from_headers(&again), attempt);
        assert!(attempt.number() >= 1);
    }
}

/// The `Idempotency-Key` of a request that is to be carried out once.
pub fn idempotency_key(data: &[u8]) {
    let headers = headers(data, &[IDEMPOTENCY_KEY, IDEMPOTENCY_KEY]);
    let Ok(Some(key)) = idempotency::key(&headers) else { return };
    assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let quoted = HeaderValue::from_str(&format!("\"{key}\"")).expect("graphic characters are a header's value");
    let again = HeaderMap::from_iter([(IDEMPOTENCY_KEY, quoted)]);
    assert!(matches!(idempotency::key(&again), Ok(Some(again)) if again == key), "{key:?}");
}

/// The headers of a call that is made in a step of a saga.
pub fn step_headers(data: &[u8]) {
    let headers = headers(data, &[IDEMPOTENCY_KEY, SAGA_EPOCH, SAGA_ID, SAGA_STEP]);
    let Ok(Some(read)) = StepHeaders::read(&headers) else { return };
    assert!(read.epoch <= LARGEST_EPOCH);
    let mut again = HeaderMap::new();
    read.write(&mut again);
    assert_eq!(StepHeaders::read(&again), Ok(Some(read)));
}

/// A step's key as text: one key has one text, but for how its UUID is spelt.
pub fn step_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(key) = text.parse::<StepKey>() else { return };
    let again = key.to_string();
    assert_eq!(again.parse(), Ok(key));
    assert_eq!(again.split_once('/').map(|parts| parts.1), text.split_once('/').map(|parts| parts.1));
}

/// What a request says of where it comes from: `traceparent`, and the step it is made in.
pub fn lineage(data: &[u8]) {
    let names = [HeaderName::from_static("traceparent"), IDEMPOTENCY_KEY, SAGA_EPOCH];
    let mut request = Request::new(());
    *request.headers_mut() = headers(data, &names);
    let lineage = Http::default().lineage(&request);
    assert!(lineage.trace.is_none_or(|trace| trace.len() <= 128));
}

/// An answer that was kept: damaged, and whole.
pub fn kept_answer(data: &[u8]) {
    if let Some(answer) = StoredAnswer::read(&Bytes::copy_from_slice(data)) {
        let _ = answer.http();
    }
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let status = parts.next().and_then(|status| http::StatusCode::from_bytes(status).ok()).unwrap_or_default();
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    if let Some(value) = parts.next().and_then(|value| HeaderValue::from_bytes(value).ok()) {
        answer.headers_mut().insert("location", value);
    }
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let keep = Keep { headers: [http::header::LOCATION].into(), limit: usize::MAX };
    let kept = StoredAnswer::of(&answer, None, body.clone(), &keep).expect("there is no limit");
    let again = StoredAnswer::read(&kept).expect("it was written a moment ago").http();
    assert_eq!((again.status(), again.body()), (status, &body));
    let location = answer.headers().get("location").filter(|location| location.to_str().is_ok());
    assert_eq!(again.headers().get("location"), location);
}

/// A line for each of these headers, as far as there are lines and they can be a header's value.
fn headers(data: &[u8], names: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, line) in names.iter().zip(data.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name.clone(), value);
        }
    }
    headers
}

fn percent_decoded(mut text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    while let Some((byte, rest)) = text.split_first() {
        text = rest;
        decoded.push(match (byte, rest.split_at_checked(2)) {
            (b'%', Some((hex, rest))) => {
                text = rest;
                let hex = std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                hex.expect("two digits follow a percent sign")
            }
            _ => *byte,
        });
    }
    decoded
}
