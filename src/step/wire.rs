//! A step on the wire: what its calls say of it, and how that is read.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{SagaId, StepContext, StepKey};
use crate::failpoint::{Planted, planted};

/// The header that carries the step's [key](StepKey): `idempotency-key: 018f.../charge/1/act`.
///
/// It is read with double quotes around it as well, as the IETF's draft of the `Idempotency-Key` header writes it.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that carries the saga's id, for those who look at headers and not into keys: proxies, logs, traces.
pub const SAGA_ID: HeaderName = HeaderName::from_static("saga-id");

/// The header that carries the step's name, for the same.
pub const SAGA_STEP: HeaderName = HeaderName::from_static("saga-step");

/// The header that carries the saga's epoch: how often it had changed hands when the call was made.
pub const SAGA_EPOCH: HeaderName = HeaderName::from_static("saga-epoch");

/// What a call says of the step it was made in. HTTP headers and gRPC metadata are written alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepHeaders {
    /// Which step, and whether it is being done or undone.
    pub key: StepKey,
    /// How often the saga had changed hands: at most [`LARGEST_EPOCH`].
    pub epoch: u64,
}

/// The largest epoch that is read. The databases that keep it have signed numbers.
pub const LARGEST_EPOCH: u64 = i64::MAX as u64;

/// Headers that are meant to be a step's, and can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidStepHeaders {
    problem: String,
}

impl StepHeaders {
    /// What calls made in `step` say of it.
    pub fn of(step: &StepContext) -> Self {
        let epoch = if planted(Planted::EpochNotSent) { 1 } else { step.epoch() };
        Self { key: step.key().clone(), epoch }
    }

    /// Writes the headers, in place of those that are there.
    pub fn write(&self, headers: &mut HeaderMap) {
        let text = |text: &str| HeaderValue::from_str(text).expect("letters, digits and -_.@:/ are a header's value");
        headers.insert(IDEMPOTENCY_KEY, text(&self.key.to_string()));
        headers.insert(SAGA_ID, text(&self.key.saga().to_string()));
        headers.insert(SAGA_STEP, text(self.key.step().as_str()));
        headers.insert(SAGA_EPOCH, HeaderValue::from(self.epoch));
    }

    /// Reads the headers; `None` if the call wasn't made in a step.
    ///
    /// An idempotency key alone says nothing of a saga, and is somebody else's business; unless it is a step's, for then
    /// the epoch got lost. `saga-id` and `saga-step` repeat what the key says, so they may be missing.
    ///
    /// # Errors
    ///
    /// There is a part of a step, but not all of it, or one that can't be read, is there twice, or says something else
    /// than another.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, InvalidStepHeaders> {
        let [key, saga, step, epoch] =
            [IDEMPOTENCY_KEY, SAGA_ID, SAGA_STEP, SAGA_EPOCH].map(|name| one(headers, &name));
        if let (Ok(None), Ok(None), Ok(None)) = (&saga, &step, &epoch)
            && !matches!(&key, Ok(Some(key)) if unquoted(key).parse::<StepKey>().is_ok())
        {
            return Ok(None);
        }
        let (saga, step) = (saga?, step?);
        let key = key?.ok_or_else(|| missing(&IDEMPOTENCY_KEY))?;
        let key: StepKey = unquoted(key).parse().map_err(|error| unreadable(&IDEMPOTENCY_KEY, &error))?;
        let epoch = read_epoch(epoch?.ok_or_else(|| missing(&SAGA_EPOCH))?)?;
        // Compared as ids and not as texts: a UUID may be written in more ways than one.
        if let Some(saga) = saga {
            let id: SagaId = saga.parse().map_err(|error| unreadable(&SAGA_ID, &error))?;
            if id != key.saga() {
                return Err(contradicts(&SAGA_ID, saga, &key));
            }
        }
        match step {
            Some(step) if step != key.step().as_str() => Err(contradicts(&SAGA_STEP, step, &key)),
            _ => Ok(Some(Self { key, epoch })),
        }
    }
}

/// The one value of a header, as text.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, InvalidStepHeaders> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(InvalidStepHeaders::new(format!("{name}: there are several, and one is right")));
    }
    let text = value.to_str().map_err(|_| InvalidStepHeaders::new(format!("{name}: {value:?} is no ASCII text")))?;
    Ok(Some(text))
}

/// A key's characters need no escapes, so a quoted one is itself between quotes.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn read_epoch(text: &str) -> Result<u64, InvalidStepHeaders> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let epoch = text.parse().ok().filter(|epoch| digits && *epoch <= LARGEST_EPOCH);
    epoch.ok_or_else(|| unreadable(&SAGA_EPOCH, &format!("{text:?} is no whole number from 0 to {LARGEST_EPOCH}")))
}

fn missing(name: &HeaderName) -> InvalidStepHeaders {
    InvalidStepHeaders::new(format!("{name}: is missing, and a call made in a step of a saga has it"))
}

fn unreadable(name: &HeaderName, problem: &dyn fmt::Display) -> InvalidStepHeaders {
    InvalidStepHeaders::new(format!("{name}: {problem}"))
}

fn contradicts(name: &HeaderName, text: &str, key: &StepKey) -> InvalidStepHeaders {
    InvalidStepHeaders::new(format!("{name}: is {text:?}, and {IDEMPOTENCY_KEY} is {key}"))
}

impl InvalidStepHeaders {
    fn new(problem: String) -> Self {
        Self { problem }
    }
}

impl fmt::Display for InvalidStepHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for InvalidStepHeaders {}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::step::Op;

    fn charge() -> StepHeaders {
        let key = StepKey::new(SagaId::from_bytes([7; 16]), "charge", 1, Op::Act).unwrap();
        StepHeaders { key, epoch: 3 }
    }

    fn written() -> HeaderMap {
        let mut headers = HeaderMap::new();
        charge().write(&mut headers);
        headers
    }

    fn problem(headers: &HeaderMap) -> String {
        StepHeaders::read(headers).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_with_quotes_and_without() {
        let mut headers = written();
        assert_eq!(headers[IDEMPOTENCY_KEY], "07070707-0707-0707-0707-070707070707/charge/1/act");
        assert_eq!(StepHeaders::read(&headers), Ok(Some(charge())));
        let quoted = format!("\"{}\"", charge().key);
        headers.insert(IDEMPOTENCY_KEY, quoted.parse().unwrap());
        assert_eq!(StepHeaders::read(&headers), Ok(Some(charge())));
        headers.remove(SAGA_ID);
        headers.remove(SAGA_STEP);
        assert_eq!(StepHeaders::read(&headers), Ok(Some(charge())));
    }

    #[test]
    fn a_call_of_no_step_is_told_apart_from_one_whose_step_cannot_be_read() {
        assert_eq!(StepHeaders::read(&HeaderMap::new()), Ok(None));
        for theirs in ["8e03978e-40d5-43e8-bc93-6894a57f9324", "\"theirs\"", ""] {
            let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, theirs.parse().unwrap())]);
            assert_eq!(StepHeaders::read(&headers), Ok(None), "an idempotency key of somebody else's");
        }
        let mut stripped = written();
        for name in [SAGA_ID, SAGA_STEP, SAGA_EPOCH] {
            stripped.remove(name);
        }
        assert!(problem(&stripped).starts_with("saga-epoch: is missing"), "{}", problem(&stripped));
    }

    #[test]
    fn what_cannot_be_read_says_which_header_and_what_would_be_right() {
        let saga = charge().key.saga();
        for (name, value, says) in [
            (IDEMPOTENCY_KEY, "theirs", "saga/step/number/act or undo is"),
            (SAGA_ID, "7", "saga-id: \"7\" is no saga's id"),
            (SAGA_ID, "08080808-0808-0808-0808-080808080808", "idempotency-key is 0707"),
            (SAGA_STEP, "refund", "saga-step: is \"refund\""),
            (SAGA_EPOCH, "", "from 0 to"),
            (SAGA_EPOCH, "-1", "from 0 to"),
            (SAGA_EPOCH, "+1", "from 0 to"),
            (SAGA_EPOCH, "1 ", "from 0 to"),
            (SAGA_EPOCH, "9223372036854775808", "from 0 to 9223372036854775807"),
        ] {
            let mut headers = written();
            headers.insert(name, value.parse().unwrap());
            assert!(problem(&headers).contains(says), "{}", problem(&headers));
        }
        let mut twice = written();
        twice.append(SAGA_EPOCH, HeaderValue::from_static("4"));
        assert_eq!(problem(&twice), "saga-epoch: there are several, and one is right");
        let mut without_key = HeaderMap::from_iter([(SAGA_ID, saga.to_string().parse().unwrap())]);
        assert!(problem(&without_key).starts_with("idempotency-key: is missing"));
        without_key.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(problem(&without_key).contains("no ASCII text"));
    }

    proptest! {
        #[test]
        fn no_headers_make_reading_panic(key in "\\PC{0,60}", step in "[ -~]{0,20}", epoch in "[0-9+-]{0,22}") {
            let mut headers = written();
            for (name, value) in [(IDEMPOTENCY_KEY, key), (SAGA_STEP, step), (SAGA_EPOCH, epoch)] {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(name, value);
                }
            }
            let _ = StepHeaders::read(&headers);
        }
    }
}
