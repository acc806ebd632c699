//! How much a server says is left of its limits.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::config::LONGEST;

pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Reads `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), a list of an item for each limit, with how much remains
/// (`r`) and in how many seconds there will be more (`t`): the longest time of those that have nothing left. At most a
/// year.
///
/// Unreadable is as good as absent, and so is a field as earlier drafts had it, which is no such list.
pub(crate) fn exhausted_for(headers: &HeaderMap) -> Option<Duration> {
    // One list, whatever lines it comes in.
    let lines: Vec<&[u8]> = headers.get_all(RATE_LIMIT).iter().map(|line| line.as_bytes()).collect();
    let list: List = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    let limits = list.iter().filter_map(|entry| match entry {
        ListEntry::Item(limit) => more_in(limit),
        ListEntry::InnerList(_) => None,
    });
    limits.max()
}

/// When there will be more, if there is nothing left.
fn more_in(limit: &Item) -> Option<Duration> {
    let number = |key: &str| match limit.params.get(key)? {
        BareItem::Integer(number) => u64::try_from(i64::from(*number)).ok(),
        _ => None,
    };
    let more_in = Duration::from_secs(number("t")?);
    (number("r")? == 0).then_some(more_in.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    fn exhausted<const N: usize>(lines: [&'static str; N]) -> Option<u64> {
        let headers = HeaderMap::from_iter(lines.map(|line| (RATE_LIMIT, HeaderValue::from_static(line))));
        exhausted_for(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn what_is_exhausted_longest_counts() {
        assert_eq!(exhausted([r#""default";r=0;t=30"#]), Some(30));
        assert_eq!(exhausted([r#""second";r=3;t=90, "minute";r=0;t=12, "day";r=0;t=40;pk=:Cg==:"#]), Some(40));
        assert_eq!(exhausted([r#""second";r=0;t=1"#, r#"day;r=0;t=2"#]), Some(2), "in two lines, and a token");
        assert_eq!(exhausted([r#""default";r=0;t=999999999999999"#]), Some(LONGEST.as_secs()));
    }

    #[test]
    fn what_is_left_or_unsaid_is_no_reason_to_wait() {
        for line in [r#""default";r=1;t=30"#, r#""default";r=0"#, r#""default";t=30"#, r#"("a" "b");r=0;t=30"#] {
            assert_eq!(exhausted([line]), None, "{line}");
        }
        assert_eq!(exhausted([]), None);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let unreadable =
            ["", "limit=100, remaining=0, reset=30", r#""a;r=0;t=30"#, "\"a\";r=0;t=-1", "\"a\";r=0;t=1.5", "0;;"];
        for line in unreadable {
            assert_eq!(exhausted([line]), None, "{line}");
        }
    }
}
