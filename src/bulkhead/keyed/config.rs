//! The settings of a keyed bulkhead.

use crate::{
    bulkhead::config::{BulkheadConfig, WhenFull},
    config::InvalidConfig,
    keyed::{DEFAULT_MAX_KEYS, check_max_keys},
};

/// The settings of a [`KeyedBulkhead`](super::KeyedBulkhead).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct KeyedBulkheadConfig {
    /// The settings of each key's bulkhead, its queue included. [`WhenFull::Pause`] is refused: a service is asked whether
    /// it is ready before the request is there, so before anybody knows the key.
    pub each: BulkheadConfig,
    /// For how many keys a bulkhead is kept. 1 to 65,536, by default 1024.
    ///
    /// More keys take more memory, less than a kilobyte each, and another 2.5 KiB where the limit is adaptive. It also bounds
    /// how many keys can have calls at once: where that many have, the call of another key is refused.
    pub max_keys: usize,
}

impl Default for KeyedBulkheadConfig {
    fn default() -> Self {
        Self { each: BulkheadConfig::default(), max_keys: DEFAULT_MAX_KEYS }
    }
}

impl KeyedBulkheadConfig {
    /// Whether the settings make sense.
    ///
    /// # Errors
    ///
    /// For the first setting out of its range, with its name, its value and the range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.each.validate()?;
        if self.each.when_full == WhenFull::Pause {
            return Err(InvalidConfig::new(
                "bulkhead.when_full",
                "Pause can't be had for each key, because readiness is asked for before the key is known; use Reject",
            ));
        }
        check_max_keys("bulkhead.max_keys", self.max_keys)
    }
}
