//! What goes wrong between the services on purpose, to see that the books balance all the same.

use std::time::Duration;

use buttress::InvalidConfig;
use buttress::fault::FaultConfig;

/// By how much what is late is late: less than a caller waits for.
const LATE_BY: Duration = Duration::from_millis(300);

/// A share of a service's requests that go wrong: in equal parts they come late, fail before the work or after it, hang, are
/// done and never answered, and break off in the midst of the answer.
#[derive(Clone, Debug, Default)]
pub struct Chaos(FaultConfig);

impl Chaos {
    /// Of `share` of the requests something goes wrong. The same seed lets the same requests go wrong, as they come.
    ///
    /// # Errors
    ///
    /// `share` isn't from 0 to 1.
    pub fn new(share: f64, seed: u64) -> Result<Self, InvalidConfig> {
        let mut config = FaultConfig::default();
        config.seed = Some(seed);
        config.delay_for = LATE_BY;
        let FaultConfig { delay, fail, fail_after, hang, drop_reply, break_body, .. } = &mut config;
        for part in [delay, fail, fail_after, hang, drop_reply, break_body] {
            *part = share / 6.0;
        }
        config.validate()?;
        Ok(Self(config))
    }

    pub(crate) fn faults(&self) -> FaultConfig {
        self.0.clone()
    }
}
