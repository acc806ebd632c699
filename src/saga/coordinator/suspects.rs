//! Sagas that may be what killed their coordinators: each is tried alone, so that only the culprit is parked.
//!
//! A process that dies again and again takes every unfinished saga with it, and each is then one that was taken over too
//! often. So what was taken over too often is only suspected. It is held, and tried when all others are at work and have
//! done no harm for a lease, one at a time, with a mark in the journal before. What is found with such marks was alone on
//! trial when a coordinator died.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use crate::{
    failpoint,
    saga::{
        coordinator::{
            course::{Course, Stage},
            hub::Hub,
            keeper::{self, Taken},
            places::Place,
        },
        event,
        journal::{ClaimScope, JournalError, Millis, SagaRow, Write, Written},
        machine::Doing,
    },
    step::SagaId,
};

/// In how many trials of a saga a coordinator must have died. One may be a coincidence.
const TRIALS: u32 = 2;
/// How often a saga on trial is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a saga's takeovers say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Innocent,
    Suspect,
    Culprit,
}

/// Up to where the takeovers of what is merely found are counted. Trials are counted from there on.
pub(crate) fn most_takeovers(limit: u32) -> u32 {
    limit.saturating_add(1)
}

pub(crate) fn verdict(takeovers: u32, limit: u32) -> Verdict {
    match takeovers.saturating_sub(limit) {
        0 => Verdict::Innocent,
        trials if trials <= TRIALS => Verdict::Suspect,
        _ => Verdict::Culprit,
    }
}

/// Those that wait for their trial: held, so that nobody else tries them.
#[derive(Debug)]
pub(crate) struct Suspects(Mutex<Held>);

#[derive(Debug)]
struct Held {
    /// Each in its place, so that they are bounded.
    waiting: BTreeMap<Suspect, Place>,
    /// When something was taken over last, or the coordinator began.
    disturbed: Instant,
    on_trial: bool,
}

/// In the order in which they are tried: who was on trial when a coordinator died comes after those who weren't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Suspect {
    takeovers: u32,
    id: SagaId,
    /// When it was taken over. Nobody has done anything about it since.
    since: Millis,
}

/// Leave to hold trials; one has it at a time.
#[derive(Debug)]
pub(crate) struct Court(Arc<Suspects>);

impl Suspects {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Held { waiting: BTreeMap::new(), disturbed: now, on_trial: false }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, row: &SagaRow, since: Millis, place: Place) {
        event::suspected(row);
        let before = self.held().waiting.insert(Suspect { takeovers: row.takeovers, id: row.id, since }, place);
        debug_assert!(before.is_none(), "it was taken over twice in the same epoch");
    }

    /// Something else was taken over: if the process dies now, it may be that.
    pub(crate) fn disturb(&self, now: Instant) {
        self.held().disturbed = now;
    }

    /// Leave to begin with trials, if there is somebody to be tried, and nothing else has happened for a while.
    pub(crate) fn court(self: &Arc<Self>, quiet: Duration, now: Instant) -> Option<Court> {
        let mut held = self.held();
        if held.on_trial || !held.may_try(quiet, now) {
            return None;
        }
        held.on_trial = true;
        Some(Court(Arc::clone(self)))
    }
}

impl Held {
    fn may_try(&self, quiet: Duration, now: Instant) -> bool {
        !self.waiting.is_empty() && now.duration_since(self.disturbed) >= quiet
    }
}

impl Court {
    fn next(&self, quiet: Duration, now: Instant) -> Option<(Suspect, Place)> {
        let mut held = self.0.held();
        if held.may_try(quiet, now) { held.waiting.pop_first() } else { None }
    }

    /// Tries one after the other, until there is nobody left, or something else happens.
    pub(crate) async fn hold(self, hub: Weak<Hub>) {
        while let Some(hub) = hub.upgrade()
            && let Some((suspect, place)) = self.next(hub.config.lease, Instant::now())
        {
            match begin(&hub, suspect, place).await {
                Ok(Some(course)) => {
                    drop(hub);
                    watch(&course).await;
                }
                // Somebody else has it, or all is let go of.
                Ok(None) => {}
                Err(error) => return event::not_tried(&hub.writer.watched().name, &error),
            }
        }
    }
}

impl Drop for Court {
    fn drop(&mut self) {
        self.0.held().on_trial = false;
    }
}

/// Has a suspect recovered, after a mark that it was.
async fn begin(hub: &Arc<Hub>, suspect: Suspect, place: Place) -> Result<Option<Arc<Course>>, JournalError> {
    // Whoever drains waits for this, so that it isn't claimed after all was let go of.
    let Some(_at_work) = hub.enter() else { return Ok(None) };
    let mark = Write::Claim {
        owner: hub.owner.clone(),
        now: hub.clock.now(),
        lease_until: hub.lease_until(),
        scope: ClaimScope::One(suspect.id),
        limit: 1,
        most_takeovers: u32::MAX,
    };
    let Written::Claimed(mut marked) = hub.writer.write(mark).await? else { return Ok(None) };
    let Some((row, records)) = marked.pop() else { return Ok(None) };
    event::on_trial(&row);
    failpoint::reach("C18").await;
    Ok(keeper::recover(hub, &row, &records, &Taken { since: suspect.since, poisoned: None, on_trial: true }, place))
}

/// Returns when the trial is over. Whoever lived through it is acquitted; but not if the coordinator ends meanwhile, which
/// lets go of it.
async fn watch(course: &Course) {
    let (lease, clock) = (course.hub().config.lease, course.hub().clock);
    let (mut stage, mut closing) = (course.watch(), course.hub().closing.subscribe());
    let mut until = Instant::now() + lease;
    loop {
        let over = async {
            tokio::select! {
                _ = stage.wait_for(|stage| matches!(stage, Stage::Settled(_) | Stage::Lost(_))) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        };
        if timeout(LOOK_EVERY, over).await.is_ok() {
            return;
        }
        match course.doing(clock.now()) {
            Doing::Settling => until = Instant::now() + lease,
            Doing::UnderWay if Instant::now() < until => {}
            Doing::UnderWay | Doing::Waiting => break,
        }
    }
    event::acquitted(course);
    course.tell(|machine, now| {
        machine.acquit();
        machine.let_go_if_longer_than(lease, now);
    });
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(5);

    #[test]
    fn only_what_two_coordinators_died_of_when_it_was_tried_is_a_culprit() {
        use Verdict::{Culprit, Innocent, Suspect};
        assert_eq!([0, 3].map(|takeovers| verdict(takeovers, 3)), [Innocent; 2]);
        assert_eq!([most_takeovers(3), 5].map(|takeovers| verdict(takeovers, 3)), [Suspect; 2]);
        assert_eq!([6, u32::MAX].map(|takeovers| verdict(takeovers, 3)), [Culprit; 2]);
        assert_eq!(verdict(most_takeovers(u32::MAX), u32::MAX), Innocent);
    }

    fn suspect(suspects: &Suspects, number: u8, takeovers: u32) {
        let suspect = Suspect { takeovers, id: SagaId::from_bytes([number; 16]), since: 0 };
        suspects.held().waiting.insert(suspect, Place::spare());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_tried_before_it_was_quiet_for_a_lease() {
        let began = Instant::now();
        let suspects = Arc::new(Suspects::new(began));
        assert!(suspects.court(LEASE, began + LEASE).is_none(), "there is nobody");
        suspect(&suspects, 1, 4);
        suspect(&suspects, 2, 4);
        assert!(suspects.court(LEASE, began + LEASE / 2).is_none());
        suspects.disturb(began + LEASE);
        assert!(suspects.court(LEASE, began + LEASE).is_none());
        let court = suspects.court(LEASE, began + LEASE * 2).unwrap();
        assert!(court.next(LEASE, began + LEASE * 2).is_some());
        suspects.disturb(began + LEASE * 2);
        assert!(court.next(LEASE, began + LEASE * 2).is_none(), "something was taken over meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn one_court_tries_those_first_that_were_never_tried() {
        let suspects = Arc::new(Suspects::new(Instant::now()));
        let later = Instant::now() + LEASE;
        for (number, takeovers) in [(1, 5), (2, 4), (3, 4)] {
            suspect(&suspects, number, takeovers);
        }
        let court = suspects.court(LEASE, later).unwrap();
        assert!(suspects.court(LEASE, later).is_none());
        let order = std::iter::from_fn(|| court.next(LEASE, later)).map(|(suspect, _)| suspect.id);
        assert_eq!(order.collect::<Vec<_>>(), [2, 3, 1].map(|number| SagaId::from_bytes([number; 16])));
        drop(court);
        suspect(&suspects, 4, 4);
        assert!(suspects.court(LEASE, later).is_some());
    }
}
