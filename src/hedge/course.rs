//! The course of one call: what its answers mean for the race, the budget, and what is observed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tower_service::Service;

use super::{
    attempt::Prepared,
    event,
    handle::HeldBack,
    race::{Next, Race},
    settings::{Schedule, Settings},
};
use crate::{
    budget::Cost,
    clock,
    deadline::Deadline,
    meter::Unsettled,
    repeat::{
        protocol::Repeat,
        verdict::{Unsaid, Verdict},
    },
};

/// All of a call but its attempts.
pub(super) struct Course<S, P, R, K> {
    pub(super) protocol: P,
    rules: R,
    settings: Arc<Settings>,
    /// None if the request may not, or can't, be sent again.
    later: Option<Later<S, K>>,
    /// It has no answer yet.
    unsettled: Unsettled,
}

/// What hedges are made with.
struct Later<S, K> {
    /// Has no readiness: each hedge makes a clone of it ready.
    inner: S,
    kept: K,
    race: Race,
    began: Instant,
    /// None if too little was observed.
    schedule: Option<Schedule>,
    first_is_over: bool,
    /// Hedges that were sent, or are about to be.
    hedges: u32,
    sent: u32,
}

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    First,
    /// Counted from 1.
    Hedge(u32),
}

impl<S, P, R, K> Course<S, P, R, K> {
    /// Of a request that is about to be sent, and that can be sent again if it was `kept`.
    #[inline]
    pub(super) fn new<Req>(protocol: P, rules: R, settings: Arc<Settings>, kept: Option<K>, inner: &S) -> Self
    where
        S: Service<Req> + Clone,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        if !settings.funds.is_filled_elsewhere {
            settings.funds.budget.deposit();
        }
        let later = kept.filter(|kept| is_safe(protocol.is_safe(&rules, kept), &settings)).map(|kept| {
            let began = clock::now();
            let schedule = settings.schedule(began);
            let race = Race::new(schedule.map_or(0, |_| settings.config.max_hedges));
            Later { inner: inner.clone(), kept, race, began, schedule, first_is_over: false, hedges: 0, sent: 0 }
        });
        Self { protocol, rules, settings, later, unsettled: Unsettled::new() }
    }

    /// When the first hedge is due.
    #[inline]
    pub(super) fn due(&self) -> Option<Instant> {
        self.due_from(self.later.as_ref()?.began)
    }

    /// When the next hedge is due, now that one is sent.
    pub(super) fn due_after_now(&self) -> Option<Instant> {
        self.due_from(clock::now())
    }

    fn due_from(&self, before: Instant) -> Option<Instant> {
        let later = self.later.as_ref()?;
        later.schedule.filter(|_| later.race.may_hedge()).map(|schedule| before + schedule.after)
    }

    /// Whether the answer is of interest beyond its head: because there may be another attempt, or because it is observed
    /// how long answers take.
    #[inline]
    pub(super) fn may_repeat(&self) -> bool {
        self.later.as_ref().is_some_and(|later| later.schedule.is_none() || later.race.may_hedge())
    }

    /// Whether no attempt is under way any more.
    pub(super) fn is_alone(&self) -> bool {
        self.later.as_ref().is_none_or(|later| later.race.is_alone())
    }

    /// Another attempt that is sent after `wait`, if there may be one. If not, there will be none any more.
    pub(super) fn prepare<Req>(&mut self, wait: Duration) -> Option<Box<Prepared<S, Req>>>
    where
        S: Service<Req> + Clone,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        let Self { protocol, settings, later, .. } = self;
        let later = later.as_mut().filter(|later| later.race.may_hedge())?;
        match later.prepare(protocol, settings, wait) {
            Ok(prepared) => Some(Box::new(prepared)),
            Err(why) => {
                later.race.stop();
                settings.core.held_back(why);
                None
            }
        }
    }

    /// Another attempt runs from now on, if only to be made ready.
    pub(super) fn hedged(&mut self) {
        if let Some(later) = &mut self.later {
            later.race.hedge();
            later.hedges += 1;
        }
    }

    /// A hedge was sent.
    pub(super) fn sent<Req>(&mut self)
    where
        S: Service<Req>,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        let Some(later) = &mut self.later else { return };
        later.sent += 1;
        self.protocol.mark_sent(&later.kept);
        let core = &self.settings.core;
        core.sent(later.sent);
        event::hedging(&core.name, later.sent + 1, later.began.elapsed());
    }

    /// What to do about an answer.
    #[inline]
    pub(super) fn ended<Req>(&mut self, who: Who, answer: &Result<P::Response, P::Error>) -> Next
    where
        S: Service<Req>,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        let verdict = self.protocol.judge(&self.rules, answer);
        let Self { settings, later, .. } = self;
        let next = match later {
            None => Next::HandOn,
            Some(later) => later.ended(settings, who, &verdict),
        };
        let handed_on = matches!(next, Next::HandOn | Next::HandOnSentBefore);
        // What is handed on, the one who shares the budget will tell it of.
        if !(handed_on && settings.funds.is_filled_elsewhere) {
            match verdict {
                // A hedge's cost doesn't come back with its success, or hedges would be free while all is well.
                Verdict::Success => settings.funds.budget.succeeded(None),
                Verdict::Failed(_) | Verdict::Refused { by_server: true } => settings.funds.budget.failed(),
                Verdict::Final | Verdict::Refused { by_server: false } => {}
            }
        }
        if handed_on {
            self.over(who, matches!(verdict, Verdict::Success | Verdict::Final));
        }
        next
    }

    /// Hands on a failure that another attempt might have mended.
    pub(super) fn give_up<A>(&mut self, who: Who, answer: A) -> A {
        self.over(who, false);
        answer
    }

    /// The call has its answer.
    #[inline]
    fn over(&mut self, who: Who, is_good: bool) {
        self.unsettled.settle();
        if let Some(later) = self.later.as_ref().filter(|later| later.sent > 0) {
            later.tell(&self.settings, who, is_good);
        }
    }
}

impl<S, P, R, K> Drop for Course<S, P, R, K> {
    #[inline]
    fn drop(&mut self) {
        if self.unsettled.settle() {
            self.settings.core.meter().cancelled.increment();
        }
    }
}

fn is_safe(said: Result<bool, Unsaid>, settings: &Settings) -> bool {
    said.unwrap_or_else(|Unsaid| {
        if !settings.core.unsaid.swap(true, Ordering::Relaxed) {
            event::unsaid(&settings.core.name);
        }
        false
    })
}

// ===== impl Later =====

impl<S, K> Later<S, K> {
    fn prepare<P, R, Req>(
        &mut self,
        protocol: &P,
        settings: &Settings,
        wait: Duration,
    ) -> Result<Prepared<S, Req>, HeldBack>
    where
        S: Service<Req> + Clone,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        let deadline = protocol.deadline(&self.kept).into_iter().chain(Deadline::current()).min();
        let usual = self.schedule.map_or(Duration::ZERO, |schedule| schedule.usual);
        if deadline.is_some_and(|deadline| deadline.remaining(clock::now()) <= wait + usual) {
            return Err(HeldBack::Deadline);
        }
        let token = settings.funds.budget.withdraw(Cost::Transient).map_err(|exhausted| {
            if exhausted.news {
                event::budget_exhausted(&settings.core.name);
            }
            HeldBack::Budget
        })?;
        let request = protocol.again(&mut self.kept, self.hedges + 1).map_err(|_| HeldBack::NotReplayable)?;
        Ok(Prepared { inner: self.inner.clone(), request, token })
    }

    #[inline]
    fn ended(&mut self, settings: &Settings, who: Who, verdict: &Verdict) -> Next {
        let now = clock::now();
        let could_hedge = self.race.may_hedge();
        let next = self.race.ended(verdict);
        match (who, verdict) {
            (Who::First, Verdict::Success) => settings.observe(now.saturating_duration_since(self.began), now),
            // The first took longer than this; how much longer will never be known. It is beyond the quantile as it is,
            // so the quantile stays what it would be. Left out, the slow calls would be missing, and it would shrink.
            (Who::Hedge(_), Verdict::Success | Verdict::Final) if !self.first_is_over => {
                settings.observe(now.saturating_duration_since(self.began), now);
            }
            (_, Verdict::Refused { .. }) if could_hedge => settings.core.held_back(HeldBack::Refused),
            _ => {}
        }
        self.first_is_over |= who == Who::First;
        next
    }

    #[cold]
    fn tell(&self, settings: &Settings, who: Who, is_good: bool) {
        let core = &settings.core;
        let mut lost = self.sent;
        if let (Who::Hedge(number), true) = (who, is_good) {
            lost = lost.saturating_sub(1);
            core.won(number + 1);
        }
        if lost > 0 {
            core.lost(lost);
        }
    }
}
