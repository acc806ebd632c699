//! What is left of a deadline, as a header says it.
//!
//! Always a duration, rounded up: rounded down, every hop would take a little away from the next, and what is nearly
//! over would read as over. The receiver starts its own clock when it reads the header, so the time on the wire is not
//! counted; whoever set the deadline enforces it, so nothing is won by that.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of an HTTP request that says how many milliseconds are left for it: `x-request-timeout-ms: 1500`.
///
/// Digits only. A value that can't be read is ignored, as if it weren't there.
pub const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// The header of a gRPC request that says how long is left for it: `grpc-timeout: 1500m`.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A header that says nothing we understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// How a duration is written, and read again.
pub(crate) trait Format {
    const HEADER: HeaderName;
    fn parse(value: &[u8]) -> Result<Duration, Unreadable>;
    fn format(left: Duration) -> HeaderValue;

    fn read(headers: &HeaderMap) -> Result<Option<Duration>, Unreadable> {
        headers.get(Self::HEADER).map(|value| Self::parse(value.as_bytes())).transpose()
    }

    fn write(headers: &mut HeaderMap, left: Duration) {
        headers.insert(Self::HEADER, Self::format(left));
    }
}

/// Whole milliseconds.
#[derive(Debug)]
pub(crate) struct Millis;

/// gRPC over HTTP/2, "Requests": at most eight digits and a unit.
#[derive(Debug)]
pub(crate) struct GrpcTimeout;

impl Format for Millis {
    const HEADER: HeaderName = REQUEST_TIMEOUT_MS;

    fn parse(value: &[u8]) -> Result<Duration, Unreadable> {
        digits(value).map(Duration::from_millis)
    }

    fn format(left: Duration) -> HeaderValue {
        value(u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX), &[])
    }
}

impl GrpcTimeout {
    const MOST: u64 = 99_999_999;

    /// Nanoseconds of each unit, the finest first.
    const UNITS: [(u8, u64); 6] = [
        (b'n', 1),
        (b'u', 1_000),
        (b'm', 1_000_000),
        (b'S', 1_000_000_000),
        (b'M', 60 * 1_000_000_000),
        (b'H', 3600 * 1_000_000_000),
    ];
}

impl Format for GrpcTimeout {
    const HEADER: HeaderName = GRPC_TIMEOUT;

    fn parse(value: &[u8]) -> Result<Duration, Unreadable> {
        let (unit, number) = value.split_last().ok_or(Unreadable)?;
        if number.len() > 8 {
            return Err(Unreadable);
        }
        let (_, nanos) = Self::UNITS.iter().find(|(letter, _)| letter == unit).ok_or(Unreadable)?;
        let nanos = u128::from(digits(number)?) * u128::from(*nanos);
        // Eight digits of hours are 3.6e20 ns, which are no more than 3.6e11 s.
        Ok(Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
    }

    /// In the finest unit that has room for it. Beyond what can be written at all, which is 11,000 years, it is that.
    fn format(left: Duration) -> HeaderValue {
        let nanos = left.as_nanos();
        let (number, unit) = Self::UNITS
            .iter()
            .map(|(letter, unit)| (nanos.div_ceil(u128::from(*unit)), *letter))
            .find(|(number, _)| *number <= u128::from(Self::MOST))
            .unwrap_or((Self::MOST.into(), b'H'));
        value(number as u64, &[unit])
    }
}

/// Digits and perhaps a unit. Written here, for this happens on every call, and this way it allocates once.
fn value(mut number: u64, unit: &[u8]) -> HeaderValue {
    // A u64 has twenty digits, a unit one letter.
    let mut text = [0; 21];
    let mut start = text.len() - unit.len();
    text[start..].copy_from_slice(unit);
    loop {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break HeaderValue::from_bytes(&text[start..]).expect("digits and a letter");
        }
    }
}

/// ASCII digits and nothing else: `u64::from_str` would take a plus sign. More than a `u64` holds is still a readable
/// number, and a very long time.
fn digits(text: &[u8]) -> Result<u64, Unreadable> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Unreadable);
    }
    Ok(text.iter().fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &HeaderValue) -> &str {
        value.to_str().unwrap()
    }

    #[test]
    fn grpc_is_written_in_the_finest_unit_of_at_most_eight_digits() {
        for (left, written) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(1), "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_000), "100000u"),
            (Duration::from_nanos(100_000_001), "100001u"),
            (Duration::from_secs(2), "2000000u"),
            (Duration::from_secs(5 * 60), "300000m"),
            (Duration::from_secs(99_999_999), "99999999S"),
            (Duration::from_secs(100_000_000), "1666667M"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(text(&GrpcTimeout::format(left)), written, "{left:?}");
        }
    }

    #[test]
    fn grpc_is_read_in_every_unit() {
        for (written, left) in [
            ("0n", Duration::ZERO),
            ("1n", Duration::from_nanos(1)),
            ("25u", Duration::from_micros(25)),
            ("100m", Duration::from_millis(100)),
            ("00000007S", Duration::from_secs(7)),
            ("3M", Duration::from_secs(180)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(GrpcTimeout::parse(written.as_bytes()), Ok(left), "{written}");
        }
    }

    #[test]
    fn what_grpc_does_not_allow_cannot_be_read() {
        for written in [
            "",
            "n",
            "5",
            "123456789n",
            "000000001S",
            "+5S",
            "-5S",
            "5 S",
            " 5S",
            "5s",
            "5h",
            "5.0S",
            "0x5S",
            "5SS",
            "S5",
            "٥S",
        ] {
            assert_eq!(GrpcTimeout::parse(written.as_bytes()), Err(Unreadable), "{written:?}");
        }
        assert_eq!(GrpcTimeout::parse(b"\xff5S"), Err(Unreadable));
    }

    #[test]
    fn http_is_whole_milliseconds_rounded_up() {
        for (left, written) in [
            (Duration::ZERO, "0"),
            (Duration::from_nanos(1), "1"),
            (Duration::from_millis(1500), "1500"),
            (Duration::from_nanos(1_500_000_001), "1501"),
            (Duration::MAX, "18446744073709551615"),
        ] {
            assert_eq!(text(&Millis::format(left)), written, "{left:?}");
        }
        for written in ["", "soon", "-1", "+1", "1.5", " 1", "1 ", "0x10", "1s", "１"] {
            assert_eq!(Millis::parse(written.as_bytes()), Err(Unreadable), "{written:?}");
        }
        assert_eq!(Millis::parse(b"0020"), Ok(Duration::from_millis(20)));
        assert_eq!(Millis::parse(b"99999999999999999999999"), Ok(Duration::from_millis(u64::MAX)));
    }

    #[test]
    fn a_header_that_is_absent_is_not_unreadable() {
        let mut headers = HeaderMap::new();
        assert_eq!(GrpcTimeout::read(&headers), Ok(None));
        GrpcTimeout::write(&mut headers, Duration::from_millis(20));
        GrpcTimeout::write(&mut headers, Duration::from_millis(10));
        assert_eq!(headers.get_all(GRPC_TIMEOUT).iter().count(), 1, "the old value is replaced");
        assert_eq!(GrpcTimeout::read(&headers), Ok(Some(Duration::from_millis(10))));
    }

    /// Nanoseconds of every order of magnitude alike, up to what eight digits of hours hold.
    fn durations() -> impl Strategy<Value = Duration> {
        (0_u32..=68, any::<u64>()).prop_map(|(bits, seed)| {
            let nanos = (u128::from(seed) << 5).rem_euclid(1_u128 << bits);
            Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_no_less_and_within_the_rounding(left in durations()) {
            let millis = Millis::parse(Millis::format(left).as_bytes()).unwrap();
            prop_assert!(millis >= left && millis - left < Duration::from_millis(1));

            let value = GrpcTimeout::format(left);
            prop_assert!(value.len() <= 9);
            let grpc = GrpcTimeout::parse(value.as_bytes()).unwrap();
            // A coarser unit is taken only where the finer one needs nine digits, so it is off by one in 10^5 at most.
            prop_assert!(grpc >= left);
            prop_assert!((grpc - left).as_nanos() * 100_000 <= left.as_nanos(), "{left:?} became {grpc:?}");
        }

        #[test]
        fn no_value_makes_reading_panic(value in prop::collection::vec(any::<u8>(), 0..24)) {
            let _ = GrpcTimeout::parse(&value);
            let _ = Millis::parse(&value);
        }
    }
}
