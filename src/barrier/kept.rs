//! An answer as it is kept.

use std::{error::Error, fmt};

use serde::{Serialize, de::DeserializeOwned};

/// The largest answer of an action or an undo that is kept, in bytes of JSON: 64 KiB.
pub const LARGEST_ANSWER: usize = 64 * 1024;

/// An answer that can't be kept, or one that was kept and can't be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is larger than [`LARGEST_ANSWER`](super::LARGEST_ANSWER).
    TooLarge {
        /// How large it is, in bytes.
        bytes: usize,
    },
    /// It can't be written as JSON.
    Unwritable(serde_json::Error),
    /// What was kept isn't what is expected here: the types of an action's and its undo's answers must stay what they were
    /// for as long as there are sagas that were begun before.
    Unreadable(serde_json::Error),
}

pub(super) fn write<T: Serialize>(answer: &T) -> Result<Vec<u8>, AnswerError> {
    let json = serde_json::to_vec(answer).map_err(AnswerError::Unwritable)?;
    if json.len() > LARGEST_ANSWER { Err(AnswerError::TooLarge { bytes: json.len() }) } else { Ok(json) }
}

pub(super) fn read<T: DeserializeOwned>(answer: Option<&[u8]>) -> Result<T, AnswerError> {
    serde_json::from_slice(answer.unwrap_or(b"null")).map_err(AnswerError::Unreadable)
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(f, "answer of {bytes} bytes: at most {} are kept", LARGEST_ANSWER)
            }
            Self::Unwritable(_) => f.write_str("answer can't be written as JSON"),
            Self::Unreadable(_) => f.write_str("kept answer isn't of the expected type"),
        }
    }
}

impl Error for AnswerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Unwritable(error) | Self::Unreadable(error) => Some(error),
        }
    }
}
