//! How long a server asks to be left alone.

use std::time::{Duration, SystemTime};

use ::http::{
    HeaderMap, HeaderValue,
    header::{DATE, RETRY_AFTER},
};

use super::rate_limit;
use crate::config::LONGEST;

/// What an HTTP answer asks for, at most a year: `Retry-After`, and where there is none (or none that can be read), what
/// `RateLimit` says of when there will be more. In this order, as draft-ietf-httpapi-ratelimit-headers-10 has it.
pub(crate) fn http(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers).or_else(|| rate_limit::exhausted_for(headers))
}

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds, or a date. Unreadable is as good as absent.
///
/// A date is held against the answer's own `Date` where there is one, so that a server whose clock is off is still
/// understood; without one there is nothing but the wall clock to go by.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds are still a readable number, and a very long time.
        return Some(value.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = headers.get(DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default().min(LONGEST))
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// What `grpc-retry-pushback-ms` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// Try again after exactly this long.
    After(Duration),
    /// Do not try again: a negative value, or one that can't be read (gRPC proposal A6).
    Never,
}

pub(crate) const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Reads `grpc-retry-pushback-ms` (gRPC proposal A6) from trailers, or from the head of a trailers-only answer.
pub(crate) fn grpc(headers: &HeaderMap) -> Option<Pushback> {
    let value = headers.get(PUSHBACK)?;
    let millis = value.to_str().ok().and_then(|value| value.parse::<i32>().ok());
    Some(match millis.map(u64::try_from) {
        Some(Ok(millis)) => Pushback::After(Duration::from_millis(millis)),
        Some(Err(_)) | None => Pushback::Never,
    })
}

impl Pushback {
    pub(crate) fn after(self) -> Option<Duration> {
        match self {
            Self::After(after) => Some(after),
            Self::Never => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<const N: usize>(headers: [(&'static str, &'static str); N]) -> HeaderMap {
        headers.into_iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn reads_seconds_and_dates() {
        assert_eq!(http(&headers([("retry-after", "120")])), Some(Duration::from_secs(120)));
        assert_eq!(http(&headers([("retry-after", " 0 ")])), Some(Duration::ZERO));
        let dated =
            headers([("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]);
        assert_eq!(http(&dated), Some(Duration::from_secs(30)));
        let past = headers([("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]);
        assert_eq!(http(&past), Some(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_what_is_too_long_is_a_year() {
        for unreadable in ["", "soon", "-1", "1.5", "12 s", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(unreadable).unwrap())]);
            assert_eq!(http(&headers), None, "{unreadable:?}");
        }
        assert_eq!(http(&headers([("retry-after", "99999999999999999999999")])), Some(LONGEST));
        assert_eq!(http(&headers([("retry-after", "18446744073709551615")])), Some(LONGEST));
    }

    #[test]
    fn a_rate_limit_counts_where_there_is_no_retry_after() {
        let exhausted = ("ratelimit", r#""default";r=0;t=30"#);
        assert_eq!(http(&headers([exhausted])), Some(Duration::from_secs(30)));
        assert_eq!(http(&headers([exhausted, ("retry-after", "5")])), Some(Duration::from_secs(5)));
        assert_eq!(http(&headers([exhausted, ("retry-after", "soon")])), Some(Duration::from_secs(30)));
    }

    #[test]
    fn an_unreadable_pushback_means_never() {
        assert_eq!(grpc(&headers([(PUSHBACK, "250")])), Some(Pushback::After(Duration::from_millis(250))));
        assert_eq!(grpc(&headers([(PUSHBACK, "0")])), Some(Pushback::After(Duration::ZERO)));
        for never in ["-1", "", "soon", "99999999999"] {
            let headers = HeaderMap::from_iter([(
                PUSHBACK.parse::<::http::HeaderName>().unwrap(),
                HeaderValue::from_str(never).unwrap(),
            )]);
            assert_eq!(grpc(&headers), Some(Pushback::Never), "{never:?}");
        }
        assert_eq!(grpc(&HeaderMap::new()), None);
    }
}
