//! How many retries there may be, all calls taken together.
//!
//! # Why a budget and not just a number of attempts?
//!
//! Three attempts a call are harmless as long as few calls fail. When all of them fail, because the service is down or
//! has too much to do, three attempts a call are three times the load at the worst of all moments, and keep it down.
//! A budget bounds retries as a share of the calls: while little fails, every failure is retried; while everything
//! fails, hardly any. One [`Budget`] may be shared (a clone is the same budget) by retries, layers and clients that call
//! the same service.
//!
//! There are three kinds, after three big users of them: see [`BudgetConfig`].
//!
//! ```
//! use buttress::budget::{Budget, Cost};
//!
//! // A tenth of the calls, and one retry a second however few calls there are.
//! let budget = Budget::share(0.1, 1);
//! budget.deposit(); // a call was made
//! match budget.withdraw(Cost::Transient) {
//!     Ok(token) => token.spend(), // and now the call is made again
//!     Err(exhausted) => eprintln!("{exhausted}"),
//! }
//! assert_eq!(budget.available(), 9);
//! ```

mod bucket;
mod config;
mod share;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub use self::config::BudgetConfig;
use self::{bucket::Bucket, share::Share};
use crate::{
    clock,
    config::{InvalidConfig, or_panic},
};

/// Retries to be spent. A clone is the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    config: BudgetConfig,
    kind: Kind,
    /// When a retry was last refused.
    refused: Mutex<Option<Instant>>,
}

enum Kind {
    Share { share: Share, epoch: Instant },
    Tokens(Bucket),
    Costs(Bucket),
}

/// Why a call failed, for the budgets that charge for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cost {
    /// The service failed, or could not be reached.
    Transient,
    /// The service said that it had too much to do (HTTP 429, gRPC RESOURCE_EXHAUSTED).
    Throttled,
}

/// A budget that has nothing left is news after this long a time without a refusal.
const CALM: Duration = Duration::from_secs(10);

impl Budget {
    /// A budget of any kind.
    ///
    /// # Errors
    ///
    /// A setting that is outside its range.
    pub fn new(config: BudgetConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self::valid(config))
    }

    /// A share of the calls, and some a second: [`BudgetConfig::Share`].
    ///
    /// # Panics
    ///
    /// If `ratio` is not between 0 and 10, `per_second` is above 1,000,000, or both are zero.
    #[track_caller]
    pub fn share(ratio: f64, per_second: u32) -> Self {
        or_panic(Self::new(BudgetConfig::Share { ratio, per_second }))
    }

    /// gRPC's tokens: [`BudgetConfig::Tokens`].
    ///
    /// # Panics
    ///
    /// If `max_tokens` is not between 1 and 1,000 or `token_ratio` not between 0.001 and 1,000.
    #[track_caller]
    pub fn tokens(max_tokens: u32, token_ratio: f64) -> Self {
        or_panic(Self::new(BudgetConfig::Tokens { max_tokens, token_ratio }))
    }

    /// The costs of the AWS SDKs: [`BudgetConfig::Costs`] with a capacity of 500, 14 a retry, 5 after an overload, and 1
    /// back for a success.
    pub fn costs() -> Self {
        Self::valid(BudgetConfig::Costs { capacity: 500, transient: 14, throttled: 5, success: 1 })
    }

    pub(crate) fn valid(config: BudgetConfig) -> Self {
        let kind = match config {
            BudgetConfig::Share { ratio, per_second } => {
                Kind::Share { share: Share::new(ratio, per_second), epoch: clock::now() }
            }
            BudgetConfig::Tokens { max_tokens, .. } => Kind::Tokens(Bucket::full(u64::from(max_tokens) * TOKEN)),
            BudgetConfig::Costs { capacity, .. } => Kind::Costs(Bucket::full(u64::from(capacity))),
        };
        Self(Arc::new(Inner { config, kind, refused: Mutex::new(None) }))
    }

    /// The settings this budget was made with. They stay: another setting is another budget.
    pub fn config(&self) -> BudgetConfig {
        self.0.config
    }

    /// A call was made, its first attempt. Neither locks nor allocates, and seldom reads the clock.
    pub fn deposit(&self) {
        if let Kind::Share { share, epoch } = &self.0.kind {
            share.deposit(|| tick(*epoch));
        }
    }

    /// An attempt failed in a way that may be retried, whether it is or not.
    pub fn failed(&self) {
        if let Kind::Tokens(tokens) = &self.0.kind {
            tokens.take_up_to(TOKEN);
        }
    }

    /// A call succeeded; `after` is the cost of its last retry, if it took any.
    pub fn succeeded(&self, after: Option<Cost>) {
        match (&self.0.kind, self.0.config) {
            (Kind::Tokens(tokens), BudgetConfig::Tokens { token_ratio, .. }) => {
                tokens.give((token_ratio * TOKEN as f64) as u64);
            }
            (Kind::Costs(costs), BudgetConfig::Costs { success, .. }) => {
                costs.give(after.map_or(u64::from(success), |cost| self.cost(cost)));
            }
            _ => {}
        }
    }

    /// Takes what a retry costs. The token gives it back when it is dropped unspent.
    ///
    /// Withdrawals are atomic: however many threads ask at once, the budget is never overdrawn.
    ///
    /// # Errors
    ///
    /// If too little is left.
    pub fn withdraw(&self, cost: Cost) -> Result<Token, Exhausted> {
        let taken = match &self.0.kind {
            Kind::Share { share, epoch } => share.withdraw(tick(*epoch)).map(Taken::Share),
            Kind::Tokens(tokens) => tokens.more_than_half().then_some(Taken::Nothing),
            Kind::Costs(costs) => {
                let cost = self.cost(cost);
                costs.take(cost).then_some(Taken::Cost(cost))
            }
        };
        match taken {
            Some(taken) => Ok(Token { budget: self.clone(), taken }),
            None => Err(Exhausted { news: self.is_news(clock::now()) }),
        }
    }

    /// How many retries there could be right now, if nothing else happened.
    pub fn available(&self) -> u64 {
        match &self.0.kind {
            Kind::Share { share, epoch } => share.available(tick(*epoch)),
            // One fewer each time, and only while more than half is there.
            Kind::Tokens(tokens) => tokens.above_half().div_ceil(TOKEN),
            Kind::Costs(costs) => costs.left() / self.cost(Cost::Transient),
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn cost(&self, cost: Cost) -> u64 {
        match (self.0.config, cost) {
            (BudgetConfig::Costs { transient, .. }, Cost::Transient) => u64::from(transient),
            (BudgetConfig::Costs { throttled, .. }, Cost::Throttled) => u64::from(throttled),
            _ => 1,
        }
    }

    fn is_news(&self, now: Instant) -> bool {
        let mut refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.replace(now).is_none_or(|last| now.saturating_duration_since(last) >= CALM)
    }
}

/// Tokens are counted in thousandths.
const TOKEN: u64 = 1000;

/// Seconds since the budget was made. They wrap around after 136 years.
fn tick(epoch: Instant) -> u32 {
    clock::now().saturating_duration_since(epoch).as_secs() as u32
}

impl Default for Budget {
    fn default() -> Self {
        Self::valid(BudgetConfig::default())
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("config", &self.0.config).field("available", &self.available()).finish()
    }
}

/// What was withdrawn for one retry. Dropped unspent, it goes back to where it came from, once.
#[must_use = "dropped, it goes back to the budget; spend it when the retry is sent"]
#[derive(Debug)]
pub struct Token {
    budget: Budget,
    taken: Taken,
}

#[derive(Debug, Clone, Copy)]
enum Taken {
    Nothing,
    /// In this second.
    Share(u32),
    Cost(u64),
}

impl Token {
    /// The retry is sent.
    pub fn spend(mut self) {
        self.taken = Taken::Nothing;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        match (&self.budget.0.kind, self.taken) {
            (Kind::Share { share, .. }, Taken::Share(tick)) => share.give_back(tick),
            (Kind::Costs(costs), Taken::Cost(cost)) => costs.give(cost),
            _ => {}
        }
    }
}

/// Too little is left for another retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// Nothing was refused for a while before this.
    pub(crate) news: bool,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("retry budget exhausted")
    }
}

impl std::error::Error for Exhausted {}

#[cfg(all(test, not(buttress_loom)))]
mod tests;
