//! Mistakes to be found.

use std::{
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

macro_rules! mistakes {
    ($($(#[$doc:meta])* $mistake:ident = $name:literal,)*) => {
        /// A mistake that can be planted, and has to be found.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Planted {
            $($(#[$doc])* $mistake,)*
        }

        impl Planted {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$mistake),*];

            /// What it is called in `BUTTRESS_PLANTED`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$mistake => $name,)*
                }
            }
        }
    };
}

mistakes! {
    /// The participant's barrier runs every action and every undo, as if it had heard of none.
    BarrierOff = "barrier-off",
    /// The journal writes whoever holds the saga.
    FenceOff = "fence-off",
    /// The journal doesn't wait for the disk.
    SynchronousNormal = "synchronous-normal",
    /// What undoes a step is written down after it was done.
    IntentAfterAction = "intent-after-action",
    /// The first step is undone first.
    UndoInForwardOrder = "undo-in-forward-order",
    /// A step that may have happened isn't undone.
    UnknownTakenForRefused = "unknown-taken-for-refused",
    /// Every coordinator says that it holds its saga for the first time.
    EpochNotSent = "epoch-not-sent",
    /// A client that hangs up stops its saga in the middle.
    HandlerNotDetached = "handler-not-detached",
    /// One caller's idempotency key finds another's answer.
    KeyNotScoped = "key-not-scoped",
}

// No decision but the mistake's own hangs on it, so every access is relaxed.
static PLANTED: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(super::from_env("BUTTRESS_PLANTED", read)));

/// Whether the mistake is made.
pub fn planted(mistake: Planted) -> bool {
    PLANTED.load(Relaxed) & bit(mistake) != 0
}

/// From here on the mistake is made.
pub fn plant(mistake: Planted) {
    PLANTED.fetch_or(bit(mistake), Relaxed);
}

/// From here on the mistake isn't made.
pub fn uproot(mistake: Planted) {
    PLANTED.fetch_and(!bit(mistake), Relaxed);
}

fn bit(mistake: Planted) -> u32 {
    1 << mistake as u32
}

fn read(text: &str) -> Result<u32, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| name.parse().map(bit)).try_fold(0, |all, bit| Ok(all | bit?))
}

impl FromStr for Planted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|mistake| mistake.as_str() == name).copied().ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|mistake| mistake.as_str()).collect();
            format!("{name:?} can't be planted; {} can", known.join(", "))
        })
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_refused() {
        assert_eq!(read("barrier-off, key-not-scoped"), Ok(bit(Planted::BarrierOff) | bit(Planted::KeyNotScoped)));
        assert_eq!(read(""), Ok(0));
        assert!(read("barrier-of").unwrap_err().contains("barrier-off"));
    }
}
