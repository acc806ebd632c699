//! The settings of a fallback.

use crate::config::{InvalidConfig, check};

/// The settings of a [`Fallback`](super::Fallback).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct FallbackConfig {
    /// Whether there is a fallback when the service failed, as the protocol or `classify` judges it. True by default.
    pub on_failures: bool,
    /// Whether there is one when another policy of ours refused the call, which was not sent. True by default.
    pub on_rejections: bool,
    /// Whether there is one when the time of an attempt ran out. True by default.
    pub on_elapsed: bool,
    /// How many fallbacks there may be at once, each to the end of its response body; beyond that the failure is handed
    /// on. From 1 to 1,000,000; 10 by default. When a service goes down, all its calls fall back at once: what stands in
    /// for it has to bear this many.
    pub max_concurrent: usize,
    /// How much of a request's body is kept for a fallback service, in bytes. From 0, which keeps nothing that streams, to
    /// 1 GiB; 64 KiB by default. This much memory, at most, is held for each call under way. A request with a larger body
    /// has no fallback.
    pub replay_at_most: usize,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self { on_failures: true, on_rejections: true, on_elapsed: true, max_concurrent: 10, replay_at_most: 64 * 1024 }
    }
}

impl FallbackConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    ///
    /// The first setting that is outside its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        if !(self.on_failures || self.on_rejections || self.on_elapsed) {
            return Err(InvalidConfig::new(
                "fallback.on_failures",
                "false, with on_rejections and on_elapsed false too, is no fallback at all; one of them must be true",
            ));
        }
        check("fallback.max_concurrent", self.max_concurrent, 1..=1_000_000, "between 1 and 1,000,000")?;
        check("fallback.replay_at_most", self.replay_at_most, 0..=1 << 30, "at most 1 GiB")
    }
}
