//! Which step of which saga, and whether it is being done or undone.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::name::Name;

/// Which saga. Made anew for each, in the order of time (UUID version 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SagaId(Uuid);

/// Whether a step is being done or undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// The step itself.
    Act,
    /// What undoes it.
    Undo,
}

/// What a step is known by, from its first attempt to its last, on whatever node: the idempotency key of what it asks
/// others to do.
///
/// As text it is `saga/step/number/act` or `.../undo`, which is also how it is serialized, and what
/// [`StepLayer`](super::StepLayer) sends as `Idempotency-Key`. The number counts the steps of the saga, so that two steps
/// of one name are told apart; it doesn't count attempts.
#[derive(Clone, PartialEq, Eq)]
pub struct StepKey {
    saga: SagaId,
    step: Name,
    number: u32,
    op: Op,
}

/// The longest name of a step, in bytes.
pub const LONGEST_STEP_NAME: usize = 64;

/// A text that is no [`StepKey`], [`SagaId`], or name of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidStepKey {
    problem: String,
}

impl SagaId {
    /// A new one, later than all that were made before it on this machine.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of sixteen bytes, as a journal keeps it.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl Default for SagaId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SagaId {
    type Err = InvalidStepKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|error| InvalidStepKey::new(format!("{text:?} is no saga's id: {error}")))
    }
}

// ===== impl Op =====

impl Op {
    /// `act` or `undo`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Undo => "undo",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// ===== impl StepKey =====

impl StepKey {
    /// The key of the step called `step`, the `number`th of `saga`.
    ///
    /// # Errors
    ///
    /// The name is empty, longer than [`LONGEST_STEP_NAME`], or holds anything but letters, digits, and `-_.@:`: it
    /// goes into a header and, between slashes, into a key.
    pub fn new(saga: SagaId, step: impl Into<Name>, number: u32, op: Op) -> Result<Self, InvalidStepKey> {
        let step = step.into();
        check_name(step.as_str())?;
        Ok(Self { saga, step, number, op })
    }

    /// The saga.
    pub fn saga(&self) -> SagaId {
        self.saga
    }

    /// The step's name.
    pub fn step(&self) -> &Name {
        &self.step
    }

    /// Which step of its saga it is, from 0 on.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is being done or undone.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The same step, being done or undone.
    #[must_use]
    pub fn with_op(&self, op: Op) -> Self {
        Self { op, ..self.clone() }
    }
}

/// Refuses what can't be a step's name.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidStepKey> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_STEP_NAME || !name.bytes().all(allowed) {
        return Err(InvalidStepKey::new(format!(
            "{name:?} is no name of a step: 1 to {LONGEST_STEP_NAME} letters, digits and -_.@: are"
        )));
    }
    Ok(())
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { saga, step, number, op } = self;
        write!(f, "{saga}/{step}/{number}/{op}")
    }
}

impl fmt::Debug for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StepKey {
    type Err = InvalidStepKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidStepKey::new(format!("{text:?} is no step's key: saga/step/number/act or undo is"));
        let mut parts = text.split('/');
        let (Some(saga), Some(step), Some(number), Some(op), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        // `parse` would take a plus sign, and two texts must not be one key.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) || (number.len() > 1 && number.starts_with('0')) {
            return Err(invalid());
        }
        let op = match op {
            "act" => Op::Act,
            "undo" => Op::Undo,
            _ => return Err(invalid()),
        };
        Self::new(saga.parse()?, step.to_owned(), number.parse().map_err(|_| invalid())?, op)
    }
}

impl Serialize for StepKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

// ===== impl InvalidStepKey =====

impl InvalidStepKey {
    fn new(problem: String) -> Self {
        Self { problem }
    }
}

impl fmt::Display for InvalidStepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for InvalidStepKey {}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_reads_back_as_it_was_written(saga: [u8; 16], step in "[a-zA-Z0-9_.@:-]{1,64}", number: u32, undo: bool) {
            let op = if undo { Op::Undo } else { Op::Act };
            let key = StepKey::new(SagaId::from_bytes(saga), step, number, op).unwrap();
            prop_assert_eq!(key.to_string().parse::<StepKey>().unwrap(), key.clone());
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<StepKey>(&json).unwrap(), key);
        }

        #[test]
        fn no_text_makes_reading_panic_and_none_is_another_keys(text in ".{0,120}") {
            if let Ok(key) = text.parse::<StepKey>() {
                prop_assert_eq!(key.to_string().to_lowercase(), text.to_lowercase());
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_says_what_one_is() {
        let saga = SagaId::from_bytes([7; 16]);
        for text in [
            "".to_owned(),
            "a/b/0/act".to_owned(),
            format!("{saga}/step/0"),
            format!("{saga}/step/0/act/"),
            format!("{saga}//0/act"),
            format!("{saga}/step/+1/act"),
            format!("{saga}/step/01/act"),
            format!("{saga}/step/4294967296/act"),
            format!("{saga}/step/0/redo"),
            format!("{saga}/a step/0/act"),
        ] {
            assert!(text.parse::<StepKey>().is_err(), "{text:?}");
        }
        let error = StepKey::new(saga, "", 0, Op::Act).unwrap_err();
        assert_eq!(error.to_string(), "\"\" is no name of a step: 1 to 64 letters, digits and -_.@: are");
    }
}
