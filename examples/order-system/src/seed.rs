//! Reads the data files that ship with the system.

use serde::de::DeserializeOwned;

/// Why a service or the load could not start from its data file.
#[derive(Debug)]
pub struct BadSeed {
    file: &'static str,
    source: serde_json::Error,
}

impl std::fmt::Display for BadSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "data file {} can't be read", self.file)
    }
}

impl std::error::Error for BadSeed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// `text` is embedded at build time; `file` is its name, for the message.
pub(crate) fn read<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, BadSeed> {
    serde_json::from_str(text).map_err(|source| BadSeed { file, source })
}
