//! What a request with an idempotency key claims: the key, in the name of whoever sent it, for what was asked.

use std::{future::Future, pin::pin, sync::Arc};

use bytes::{Buf, Bytes};
use http::{
    Request,
    header::{self, HeaderMap, HeaderName},
    request::Parts,
};
use http_body::Body;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::{Idempotency, Keep, KeyProblem, Rebuild};
use crate::{
    failpoint::{Planted, planted},
    name::Name,
};

/// The header, and the metadata.
pub(super) const NAME: &str = "idempotency-key";
/// The longest key, in bytes.
pub(super) const LONGEST_KEY: usize = 255;

/// A key, and what it was sent with.
#[doc(hidden)]
#[derive(Debug)]
pub struct Claim {
    pub(crate) scope_key: Arc<str>,
    pub(crate) fingerprint: Bytes,
    pub(crate) keep: Keep,
}

/// Whether, and how, requests are read for an idempotency key before they are handed on.
pub trait Approach<Req>: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    const KEYED: bool;

    #[doc(hidden)]
    fn read(&self, request: Req, name: &Name) -> impl Future<Output = Result<(Req, Option<Claim>), KeyProblem>> + Send;
}

/// Requests have no idempotency keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unkeyed;

/// Requests have idempotency keys.
#[derive(Clone)]
pub struct Keyed {
    pub(crate) idempotency: Idempotency,
    pub(crate) principal: Option<Principal>,
    pub(crate) body_limit: usize,
    pub(crate) keep: Keep,
}

pub(crate) type Principal = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

impl<Req: Send> Approach<Req> for Unkeyed {
    const KEYED: bool = false;

    async fn read(&self, request: Req, _name: &Name) -> Result<(Req, Option<Claim>), KeyProblem> {
        Ok((request, None))
    }
}

impl<B: Rebuild> Approach<Request<B>> for Keyed {
    const KEYED: bool = true;

    async fn read(&self, request: Request<B>, name: &Name) -> Result<(Request<B>, Option<Claim>), KeyProblem> {
        let Some(key) = key(request.headers())? else {
            return match self.idempotency {
                Idempotency::Required => Err(KeyProblem::Missing),
                Idempotency::Optional => Ok((request, None)),
            };
        };
        let key = key.to_owned();
        let (parts, body) = request.into_parts();
        let scope_key = self.scope_key(&parts, name, &key);
        let body = read_whole(body, self.body_limit).await?;
        let fingerprint = fingerprint(&parts, &body);
        let claim = Claim { scope_key, fingerprint, keep: self.keep.clone() };
        Ok((Request::from_parts(parts, B::rebuild(body)), Some(claim)))
    }
}

impl Keyed {
    pub(crate) fn new(idempotency: Idempotency) -> Self {
        let headers = [
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_LOCATION,
            header::ETAG,
            header::LAST_MODIFIED,
            header::LINK,
            header::LOCATION,
        ];
        Self {
            idempotency,
            principal: None,
            body_limit: 2 << 20,
            keep: Keep { headers: headers.into(), limit: 64 << 10 },
        }
    }

    /// Whose key it is, for what kind of saga, and the key. Hashed, whoever it is: it goes into the journal.
    fn scope_key(&self, parts: &Parts, name: &Name, key: &str) -> Arc<str> {
        let principal = match &self.principal {
            Some(principal) => principal(parts).map(|principal| hashed([principal.as_bytes()])),
            None => parts.headers.get(header::AUTHORIZATION).map(|token| hashed([token.as_bytes()])),
        };
        let principal = principal.filter(|_| !planted(Planted::KeyNotScoped));
        format!("{}|{name}|{key}", principal.as_deref().map_or("-", |principal| &principal[..32])).into()
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed")
            .field("idempotency", &self.idempotency)
            .field("body_limit", &self.body_limit)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// The key, with quotes (as the header's draft has it) or without (as most send it).
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, KeyProblem> {
    let mut keys = headers.get_all(HeaderName::from_static(NAME)).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.to_str().map_err(|_| KeyProblem::Unreadable)?.trim();
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    let is_key = !key.is_empty() && key.len() <= LONGEST_KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key && keys.next().is_none() { Ok(Some(key)) } else { Err(KeyProblem::Unreadable) }
}

async fn read_whole<B: Body>(body: B, limit: usize) -> Result<Bytes, KeyProblem> {
    let too_large = KeyProblem::TooLarge { limit };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large);
    }
    let mut body = pin!(body);
    let mut whole = Bytes::new();
    let mut parts = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(|_| KeyProblem::Broken)?.into_data() else { continue };
        let data = data.copy_to_bytes(data.remaining());
        if whole.len() + parts.len() + data.len() > limit {
            return Err(too_large);
        }
        // Nothing is copied of a body that comes in one piece.
        match (whole.is_empty(), parts.is_empty()) {
            (true, true) => whole = data,
            (false, _) => {
                parts.extend_from_slice(&std::mem::take(&mut whole));
                parts.extend_from_slice(&data);
            }
            (true, false) => parts.extend_from_slice(&data),
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.into() })
}

/// What was asked: method, path, query, and body.
fn fingerprint(parts: &Parts, body: &Bytes) -> Bytes {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let mut hash = Sha256::new();
    // Neither a method nor a path has a zero in it, so no two requests read the same.
    for part in [parts.method.as_str().as_bytes(), b"\0", target.as_bytes(), b"\0", body] {
        hash.update(part);
    }
    Bytes::copy_from_slice(&hash.finalize())
}

fn hashed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
