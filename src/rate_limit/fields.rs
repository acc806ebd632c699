//! What HTTP answers say of the limit: `RateLimit-Policy` and `RateLimit`.
//!
//! draft-ietf-httpapi-ratelimit-headers-10: both are lists (RFC 9651) of items, of which each names a policy. So
//! several limits around one service have an item each.

use std::{fmt::Write, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{name::Name, protocol::http::whole_seconds, rate_limit::config::RateLimitConfig};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The two fields' items.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields {
    policy: String,
    limit: String,
}

impl Fields {
    /// With `available` calls left, and one more in `more_in` if not all are.
    pub(super) fn new(name: &Name, config: &RateLimitConfig, available: u32, more_in: Option<Duration>) -> Self {
        let name = quoted(name.as_str());
        let mut policy = format!("{name};q={}", config.limit);
        // The window counts whole seconds, and one that doesn't is left out rather than told wrongly.
        if config.per.subsec_nanos() == 0 {
            let _ = write!(policy, ";w={}", config.per.as_secs());
        }
        let mut limit = format!("{name};r={available}");
        if let Some(more_in) = more_in {
            let _ = write!(limit, ";t={}", whole_seconds(more_in));
        }
        Self { policy, limit }
    }

    /// Adds them to what other limits have said already.
    pub(super) fn add_to(self, headers: &mut HeaderMap) {
        for (field, value) in [(POLICY, self.policy), (LIMIT, self.limit)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.append(field, value);
            }
        }
    }
}

/// A string of RFC 9651, which knows printable ASCII only.
fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for char in name.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            ' '..='~' => quoted.push(char),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    fn fields(name: &'static str, per: Duration, available: u32, more_in: Option<Duration>) -> [String; 2] {
        let config = RateLimitConfig { per, ..RateLimitConfig::default() };
        let mut headers = HeaderMap::new();
        Fields::new(&name.into(), &config, available, more_in).add_to(&mut headers);
        [POLICY, LIMIT].map(|field| headers[field].to_str().unwrap().to_owned())
    }

    #[test]
    fn they_are_as_in_the_draft() {
        let minute = Duration::from_secs(60);
        let [policy, limit] = fields("default", minute, 0, Some(Duration::from_millis(11_001)));
        assert_eq!(policy, r#""default";q=100;w=60"#);
        assert_eq!(limit, r#""default";r=0;t=12"#, "rounded up");
        assert_eq!(fields("default", minute, 100, None)[1], r#""default";r=100"#, "nothing to wait for");
    }

    #[test]
    fn a_window_that_is_not_of_whole_seconds_is_not_told() {
        assert_eq!(fields("d", Duration::from_millis(1_500), 1, None)[0], r#""d";q=100"#);
    }

    #[test]
    fn any_name_makes_a_string_that_can_be_read() {
        assert_eq!(fields("a \"b\" \\ ü\n", Duration::from_secs(1), 1, None)[1], r#""a \"b\" \\ ??";r=1"#);
    }
}
