//! Whether there is another attempt, as far as that doesn't depend on what the request and the answer are.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    event,
    handle::{GaveUp, Settings},
    lead::Leads,
    scope::{self, Scope},
};
use crate::{
    backoff::Delays,
    budget::{Cost, Token},
    clock,
    deadline::Deadline,
    meter::Unsettled,
    repeat::verdict::{Ask, Failure},
};

/// A `Retry-After` may make a wait longer by this much, and not shorter (AWS SDKs' retry specification 2.1).
const PATIENCE: Duration = Duration::from_secs(5);

/// The course of one call, from attempt to attempt.
// The bound is for its drop.
#[derive(Debug)]
pub(super) struct Course<L: Leads> {
    lead: L,
    /// The retries that this call has had, at all tiers, if this is the outermost.
    made: AtomicU32,
    /// The first attempt has been polled.
    begun: bool,
    /// Boxed, for it is large beside the future of a call that succeeds at once.
    setbacks: Option<Box<Setbacks>>,
    /// No answer was handed on yet.
    unsettled: Unsettled,
}

/// What has gone wrong in the course of a call, and was done about it.
#[derive(Debug)]
struct Setbacks {
    retries: u32,
    /// How many of the retries were counted in the scope of a layer above.
    nested: u32,
    delays: Delays,
    last: Option<Cost>,
    /// An attempt may have been carried out.
    maybe_sent: bool,
}

/// Another attempt may be made, after a wait.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) wait: Duration,
    pub(super) tokens: Tokens,
}

/// The tokens that pay for a retry. Dropped unspent, they go back to their budgets.
#[derive(Debug)]
pub(super) struct Tokens {
    cost: Cost,
    own: Token,
    /// The outermost layer's, for a layer below it.
    outermost: Option<Token>,
}

impl<L: Leads> Course<L> {
    #[inline]
    pub(super) fn new(lead: L) -> Self {
        Self { lead, made: AtomicU32::new(0), begun: false, setbacks: None, unsettled: Unsettled::new() }
    }

    #[inline]
    pub(super) fn lead(&self) -> &L {
        &self.lead
    }

    #[inline]
    pub(super) fn settings(&self) -> &Arc<Settings> {
        self.lead.settings()
    }

    pub(super) fn retries(&self) -> u32 {
        self.setbacks.as_ref().map_or(0, |setbacks| setbacks.retries)
    }

    /// Runs `f`, which polls what is below, so that the retry layers there find this call. Counts the call when that is
    /// for the first time.
    #[inline]
    pub(super) fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let is_first = !mem::replace(&mut self.begun, true);
        let budget = &self.settings().budget;
        let enter = |outermost: Option<Scope<'_>>| {
            // To a layer above with the same budget, this is no first attempt, or has been counted as one.
            if is_first && outermost.is_none_or(|outermost| !outermost.budget.is(budget)) {
                budget.deposit();
            }
        };
        scope::run(Scope { budget, made: &self.made }, enter, f)
    }

    /// Whether all attempts were made, here or by other tiers.
    ///
    /// The tiers together make no more attempts than the most patient of them would alone.
    pub(super) fn attempts_left(&self) -> Result<(), GaveUp> {
        let most = self.settings().config.max_attempts - 1;
        if self.retries() >= most {
            return Err(GaveUp::Attempts);
        }
        let made = scope::with(|outermost| outermost.made.load(Ordering::Relaxed));
        if made.unwrap_or_else(|| self.made.load(Ordering::Relaxed)) >= most { Err(GaveUp::Tiers) } else { Ok(()) }
    }

    /// Another attempt, if there may be one.
    pub(super) fn admit(&mut self, failure: Failure, deadline: Option<Deadline>) -> Result<Pass, GaveUp> {
        self.attempts_left()?;
        let wait = self.wait(failure.ask);
        let deadline = deadline.into_iter().chain(Deadline::current()).min();
        if deadline.is_some_and(|deadline| deadline.remaining(clock::now()) <= wait) {
            return Err(GaveUp::Deadline);
        }
        let tokens = self.withdraw(failure.cost)?;
        if scope::with(|outermost| outermost.made.fetch_add(1, Ordering::Relaxed)).is_some() {
            self.setbacks().nested += 1;
        } else {
            *self.made.get_mut() += 1;
        }
        event::retrying(&self.settings().core.name, self.retries() + 2, wait);
        Ok(Pass { wait, tokens })
    }

    fn wait(&mut self, ask: Option<Ask>) -> Duration {
        let delays = &mut self.setbacks().delays;
        match ask {
            // From here on, the waits begin anew (A6, as grpc-go and grpc-java do it).
            Some(Ask::Exactly(wait)) => {
                delays.reset();
                wait
            }
            Some(Ask::About(wait)) => {
                let computed = delays.next(fastrand::f64());
                wait.clamp(computed, computed + PATIENCE)
            }
            None => delays.next(fastrand::f64()),
        }
    }

    fn withdraw(&self, cost: Cost) -> Result<Tokens, GaveUp> {
        let settings = self.settings();
        let own = settings.budget.withdraw(cost);
        let outermost = own.as_ref().ok().and_then(|_| {
            scope::with(|outermost| {
                let budget = outermost.budget;
                (!budget.is(&settings.budget)).then(|| budget.withdraw(cost))
            })
            .flatten()
        });
        match (own, outermost.transpose()) {
            (Ok(own), Ok(outermost)) => Ok(Tokens { cost, own, outermost }),
            (Err(exhausted), _) | (_, Err(exhausted)) => {
                if exhausted.news {
                    event::budget_exhausted(&settings.core.name);
                }
                Err(GaveUp::Budget)
            }
        }
    }

    /// The next attempt is made.
    pub(super) fn sent(&mut self, tokens: Tokens) {
        let setbacks = self.setbacks();
        setbacks.last = Some(tokens.cost);
        setbacks.retries += 1;
        tokens.own.spend();
        if let Some(token) = tokens.outermost {
            token.spend();
        }
        self.settings().core.retried();
    }

    /// An attempt failed in a way that may be retried, or that the server forbids to.
    pub(super) fn failed(&mut self, sent: bool) {
        self.setbacks().maybe_sent |= sent;
        self.settings().budget.failed();
    }

    /// Whether an attempt that has failed may have been carried out.
    pub(super) fn maybe_sent(&self) -> bool {
        self.setbacks.as_ref().is_some_and(|setbacks| setbacks.maybe_sent)
    }

    /// An attempt has failed, and there is no other.
    pub(super) fn gave_up(&self, why: GaveUp) {
        self.settings().core.gave_up(self.attempts(), why);
    }

    /// How many attempts were made so far, with the one that is under way.
    #[inline]
    pub(super) fn attempts(&self) -> u32 {
        self.retries() + 1
    }

    /// An answer is handed on after so many attempts.
    #[inline]
    pub(super) fn ended(&mut self, attempts: u32) {
        self.unsettled.settle();
        self.settings().core.meter().attempts.record(attempts);
    }

    /// The call succeeded.
    #[inline]
    pub(super) fn succeeded(&mut self) {
        match self.setbacks.take() {
            None => self.settings().budget.succeeded(None),
            Some(setbacks) => self.recovered(&setbacks),
        }
    }

    /// Its retries don't count any more for the layers above: it is not because of them that those would have to try
    /// again.
    #[cold]
    fn recovered(&self, setbacks: &Setbacks) {
        let Settings { budget, core, .. } = &**self.settings();
        budget.succeeded(setbacks.last);
        if setbacks.retries > 0 {
            scope::with(|outermost| {
                let made = outermost.made.load(Ordering::Relaxed);
                outermost.made.store(made.saturating_sub(setbacks.nested), Ordering::Relaxed);
            });
            core.recovered(setbacks.retries + 1);
        }
    }

    fn setbacks(&mut self) -> &mut Setbacks {
        let (lead, setbacks) = (&self.lead, &mut self.setbacks);
        setbacks.get_or_insert_with(|| {
            let delays = lead.settings().config.backoff.delays();
            Box::new(Setbacks { retries: 0, nested: 0, delays, last: None, maybe_sent: false })
        })
    }
}

impl<L: Leads> Drop for Course<L> {
    #[inline]
    fn drop(&mut self) {
        if self.unsettled.settle() {
            self.settings().core.meter().cancelled.increment();
        }
    }
}
