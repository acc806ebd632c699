//! An answer that is kept, for those who ask again.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::protocol::grpc::Code;

/// What is kept of an answer.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Keep {
    pub(crate) headers: Arc<[HeaderName]>,
    /// How many bytes of body.
    pub(crate) limit: usize,
}

/// An answer as it is kept: a line of JSON for its head, and then its body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(hidden)]
pub struct StoredAnswer {
    head: Head,
    body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(String, String)>,
}

/// The header, or metadata, of an answer that was given before: `idempotency-replayed: true`.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Whether a failing answer stands: asked again, it would be the same. 408, 409, 425, 429 and 5xx say "not now".
pub(crate) fn is_final(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

/// As [`is_final`], for gRPC.
pub(crate) fn is_final_code(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}

impl StoredAnswer {
    /// The answer as it is kept, if it is small enough.
    pub(crate) fn of<B>(head: &Response<B>, trailers: Option<&HeaderMap>, body: Bytes, keep: &Keep) -> Option<Bytes> {
        let head = Head {
            status: head.status().as_u16(),
            headers: chosen(head.headers(), keep),
            trailers: trailers.map(|trailers| chosen(trailers, keep)).unwrap_or_default(),
        };
        let mut kept = serde_json::to_vec(&head).ok()?;
        kept.push(b'\n');
        kept.extend_from_slice(&body);
        (kept.len() <= keep.limit).then(|| kept.into())
    }

    pub(crate) fn read(kept: &Bytes) -> Option<Self> {
        let line = kept.iter().position(|byte| *byte == b'\n')?;
        let head = serde_json::from_slice(&kept[..line]).ok()?;
        Some(Self { head, body: kept.slice(line + 1..) })
    }

    /// The answer again, marked as a repetition. Its trailers, if there are any, ride in the extensions as [`Trailers`].
    pub(crate) fn http(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = StatusCode::from_u16(self.head.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers(&self.head.headers);
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        if !self.head.trailers.is_empty() {
            response.extensions_mut().insert(Trailers(headers(&self.head.trailers)));
        }
        response
    }
}

/// The trailers of an answer that is given again.
#[derive(Debug, Clone)]
pub(crate) struct Trailers(pub(crate) HeaderMap);

fn chosen(headers: &HeaderMap, keep: &Keep) -> Vec<(String, String)> {
    let is_chosen = |name: &HeaderName| name.as_str().starts_with("grpc-") || keep.headers.contains(name);
    let chosen = headers.iter().filter(|(name, _)| is_chosen(name));
    // What isn't visible ASCII can't be written down.
    chosen.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}

fn headers(kept: &[(String, String)]) -> HeaderMap {
    let headers = kept.iter().filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    });
    headers.collect()
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};

    use super::*;

    fn keep(limit: usize) -> Keep {
        Keep { headers: [CONTENT_TYPE, LOCATION].into(), limit }
    }

    #[test]
    fn an_answer_is_kept_with_the_headers_that_were_chosen_and_no_others() {
        let head = Response::builder()
            .status(201)
            .header(CONTENT_TYPE, "application/json")
            .header(LOCATION, "/orders/7")
            .header(SET_COOKIE, "session=secret")
            .body(())
            .unwrap();
        let body = Bytes::from_static(b"{\"id\":7}\n\xff");
        let kept = StoredAnswer::of(&head, None, body.clone(), &keep(200)).unwrap();
        assert!(!kept.windows(6).any(|part| part == b"secret"));
        let again = StoredAnswer::read(&kept).unwrap().http();
        assert_eq!(again.status(), 201);
        assert_eq!(again.headers()[LOCATION], "/orders/7");
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(again.headers().len(), 3);
        assert_eq!(again.into_body(), body);
    }

    #[test]
    fn trailers_are_kept_with_their_status() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("x-internal", HeaderValue::from_static("7"));
        let kept = StoredAnswer::of(&Response::new(()), Some(&trailers), Bytes::new(), &keep(200)).unwrap();
        let again = StoredAnswer::read(&kept).unwrap().http();
        let Trailers(again) = again.extensions().get().unwrap();
        assert_eq!((again.len(), &again["grpc-status"]), (1, &HeaderValue::from_static("0")));
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_what_cannot_be_read_is_not_given() {
        assert!(StoredAnswer::of(&Response::new(()), None, Bytes::from(vec![0; 100]), &keep(100)).is_none());
        for damaged in ["", "{}", "{}\n", "\n", "{\"status\":200}"] {
            assert!(StoredAnswer::read(&Bytes::from_static(damaged.as_bytes())).is_none(), "{damaged:?}");
        }
    }

    #[test]
    fn an_answer_that_says_not_now_does_not_stand() {
        for (status, stands) in [
            (400, true),
            (404, true),
            (422, true),
            (408, false),
            (409, false),
            (425, false),
            (429, false),
            (500, false),
        ] {
            assert_eq!(is_final(StatusCode::from_u16(status).unwrap()), stands, "{status}");
        }
    }
}
