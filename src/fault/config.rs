//! Settings, and the proof that they make sense.

use std::time::Duration;

use http::StatusCode;

use crate::{
    config::{InvalidConfig, LONGEST, check},
    protocol::grpc::Code,
};

/// Something that goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Fault {
    /// The service is called after this long, at most a year.
    Delay(#[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))] Duration),
    /// The call fails, and the service isn't called.
    Fail,
    /// The service is called and does it, and the caller is told that the call failed.
    FailAfter,
    /// The call never ends, and the service isn't called.
    Hang,
    /// The service is called and does it, and the caller never hears of it: the call doesn't end.
    DropReply,
    /// The response's body breaks off in the midst. In the plain flavour, where there is none, it is a
    /// [`FailAfter`](Self::FailAfter).
    BreakBody,
}

impl Fault {
    /// The fault as a field of a log or a label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Fail => "fail",
            Self::FailAfter => "fail_after",
            Self::Hang => "hang",
            Self::DropReply => "drop_reply",
            Self::BreakBody => "break_body",
        }
    }
}

/// The settings of a fault layer: by default nothing ever goes wrong.
///
/// ```
/// use buttress::fault::FaultConfig;
///
/// let mut config = FaultConfig::default();
/// config.fail = 0.75;
/// config.hang = 0.5;
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.to_string(), "invalid setting fault.*: the shares are 1.25 together, which is more than 1");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct FaultConfig {
    /// The master switch. By default on; off, every call goes through unharmed and uncounted.
    pub enabled: bool,
    /// Where the shares' chance comes from: the same seed gives the same faults to the same calls. By default one that
    /// was drawn when the layer was made, see [`Faults::seed`](super::Faults::seed). Another seed begins to count anew.
    #[cfg_attr(feature = "serde", serde(with = "super::text::seed"))]
    pub seed: Option<u64>,
    /// What goes wrong with the first call, the second, and so on; after that nothing does. At most 1,000,000, by
    /// default none. With a script, the shares are not looked at. Another script begins anew.
    #[cfg_attr(feature = "serde", serde(with = "super::text::script"))]
    pub script: Option<Vec<Option<Fault>>>,
    /// The share of calls that [fail](Fault::Fail), 0 to 1, by default 0. All shares together are at most 1: of a call,
    /// one thing goes wrong at most.
    pub fail: f64,
    /// The share of calls that the service does and that [fail all the same](Fault::FailAfter), 0 to 1, by default 0.
    pub fail_after: f64,
    /// The share of calls that [hang](Fault::Hang), 0 to 1, by default 0.
    pub hang: f64,
    /// The share of calls of whose success the caller [never hears](Fault::DropReply), 0 to 1, by default 0.
    pub drop_reply: f64,
    /// The share of calls whose response's body [breaks off](Fault::BreakBody), 0 to 1, by default 0.
    pub break_body: f64,
    /// The share of calls that are [late](Fault::Delay), 0 to 1, by default 0.
    pub delay: f64,
    /// By how long they are late. At most a year, by default 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub delay_for: Duration,
    /// What a call that fails is answered over HTTP: 400 to 599, by default 500.
    #[cfg_attr(feature = "serde", serde(with = "super::text::status"))]
    pub status: StatusCode,
    /// What a call that fails is answered over gRPC: anything but `OK`, by default `UNAVAILABLE`.
    #[cfg_attr(feature = "serde", serde(with = "super::text::code"))]
    pub code: Code,
}

impl Default for FaultConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            seed: None,
            script: None,
            fail: 0.0,
            fail_after: 0.0,
            hang: 0.0,
            drop_reply: 0.0,
            break_body: 0.0,
            delay: 0.0,
            delay_for: Duration::from_millis(100),
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: Code::Unavailable,
        }
    }
}

/// So that nobody keeps a script without end.
const LONGEST_SCRIPT: usize = 1_000_000;

impl FaultConfig {
    /// Whether the settings make sense.
    ///
    /// # Errors
    ///
    /// For the first setting out of its range, with its name, its value and the range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        for (setting, share, _) in self.shares() {
            check(setting, share, 0.0..=1.0, "between 0 and 1")?;
        }
        let together: f64 = self.shares().iter().map(|(_, share, _)| share).sum();
        // Ten tenths are a bit more than one.
        if together > 1.0 + 1e-9 {
            let problem = format!("the shares are {together} together, which is more than 1");
            return Err(InvalidConfig::new("fault.*", problem));
        }
        check("fault.delay_for", self.delay_for, ..=LONGEST, "at most a year")?;
        for fault in self.script.iter().flatten().flatten() {
            if let Fault::Delay(delay) = fault {
                check("fault.script", *delay, ..=LONGEST, "at most a year")?;
            }
        }
        let length = self.script.as_ref().map_or(0, Vec::len);
        check("fault.script", length, ..=LONGEST_SCRIPT, "a length of at most 1000000")?;
        let failures = StatusCode::BAD_REQUEST..=StatusCode::from_u16(599).unwrap_or(StatusCode::GATEWAY_TIMEOUT);
        check("fault.status", self.status, failures, "between 400 and 599")?;
        if self.code == Code::Ok {
            return Err(InvalidConfig::new("fault.code", "OK is not a failure"));
        }
        Ok(())
    }

    /// Whether anything can go wrong.
    pub(super) fn is_active(&self) -> bool {
        let scripted = self.script.as_ref().map(|script| !script.is_empty());
        self.enabled && scripted.unwrap_or_else(|| self.shares().iter().any(|(_, share, _)| *share > 0.0))
    }

    pub(super) fn shares(&self) -> [(&'static str, f64, Fault); 6] {
        [
            ("fault.fail", self.fail, Fault::Fail),
            ("fault.fail_after", self.fail_after, Fault::FailAfter),
            ("fault.hang", self.hang, Fault::Hang),
            ("fault.drop_reply", self.drop_reply, Fault::DropReply),
            ("fault.break_body", self.break_body, Fault::BreakBody),
            ("fault.delay", self.delay, Fault::Delay(self.delay_for)),
        ]
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut FaultConfig)) -> String {
        let mut config = FaultConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_make_sense_and_are_harmless() {
        assert_eq!(FaultConfig::default().validate(), Ok(()));
        assert!(!FaultConfig::default().is_active());
    }

    #[test]
    fn nonsense_is_refused_with_the_settings_name_and_range() {
        assert_eq!(refused(|config| config.fail = f64::NAN), "invalid setting fault.fail: NaN is not between 0 and 1");
        assert_eq!(refused(|config| config.delay = -0.1), "invalid setting fault.delay: -0.1 is not between 0 and 1");
        assert!(refused(|config| config.delay_for = Duration::MAX).starts_with("invalid setting fault.delay_for: "));
        assert!(refused(|config| config.script = Some(vec![Some(Fault::Delay(Duration::MAX))])).ends_with("a year"));
        assert!(refused(|config| config.script = Some(vec![None; 1_000_001])).contains("at most 1000000"));
        assert_eq!(
            refused(|config| config.status = StatusCode::OK),
            "invalid setting fault.status: 200 is not between 400 and 599"
        );
        assert_eq!(refused(|config| config.code = Code::Ok), "invalid setting fault.code: OK is not a failure");
    }

    #[test]
    fn ten_tenths_are_one() {
        let tenths =
            FaultConfig { fail: 0.1 + 0.2, fail_after: 0.1, hang: 0.1, drop_reply: 0.5, ..FaultConfig::default() };
        assert_eq!(tenths.validate(), Ok(()));
    }
}
