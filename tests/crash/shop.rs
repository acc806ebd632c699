//! What the three processes talk about: an order takes a hold on the stock and a charge, and promises a receipt.

use std::time::Duration;

use buttress::saga::Call;
use serde::{Deserialize, Serialize};

/// What is on hand before the first order.
pub(crate) const ON_HAND: i64 = 1_000_000_000;
/// A charge of more than this is refused.
pub(crate) const LIMIT: i64 = 100_000;
/// How long a step waits for its answer.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_millis(300);
/// How long an undo or a promised call does.
pub(crate) const UNDO_TIMEOUT: Duration = Duration::from_millis(600);

pub(crate) const RELEASE: Call<Release> = Call::new("stock.release");
pub(crate) const TAKE: Call<Take> = Call::new("stock.take");
pub(crate) const REFUND: Call<Refund> = Call::new("money.refund");
pub(crate) const RECEIPT: Call<Receipt> = Call::new("money.receipt");

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) items: i64,
    pub(crate) cents: i64,
    pub(crate) fate: Fate,
}

/// How the handler is to end, if nobody dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// It commits.
    Commits,
    /// As that, with a tip that it doesn't insist on.
    Tips,
    /// The charge is refused, for it is above the limit.
    Refused,
    /// It finds at the end that it doesn't want the order.
    Declines,
    /// It panics at the end.
    Panics,
    /// The first time in each process it fails for want of something, and can be asked again.
    Flaky,
    /// It prints a label, which nothing undoes, between the hold and the charge, which is above the limit.
    Labels,
    /// It is a definition, undone if nobody is there to go on with it before its pivot.
    Defined,
    /// As that, and gone on with before its pivot as well.
    Resumed,
}

impl Fate {
    /// Whether an order of it may ever be committed.
    pub(crate) fn may_commit(self) -> bool {
        matches!(self, Self::Commits | Self::Tips | Self::Flaky | Self::Defined | Self::Resumed)
    }
}

impl Fate {
    /// Whether it is carried out by a definition, which knows no idempotency keys.
    pub(crate) fn is_defined(self) -> bool {
        matches!(self, Self::Defined | Self::Resumed)
    }
}

/// What it answers, committed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) order: String,
    pub(crate) saga: String,
    pub(crate) says: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) order: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Take {
    pub(crate) order: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) order: String,
    pub(crate) step: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) order: String,
}

/// What the money is asked for over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) order: String,
    pub(crate) cents: i64,
}

/// What the stock is asked for over gRPC.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Wanted {
    #[prost(string, tag = "1")]
    pub(crate) order: String,
    #[prost(int64, tag = "2")]
    pub(crate) items: i64,
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Given {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
}
