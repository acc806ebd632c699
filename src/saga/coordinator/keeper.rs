//! What a coordinator does without being asked: holds on to its sagas, takes over those of others that died, forgets.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    failpoint,
    saga::{
        coordinator::{
            course::Course,
            hub::Hub,
            parked,
            places::{Place, Places, TakingOver},
            suspects::{self, Verdict},
        },
        definition::{Found, Resume},
        event,
        journal::{ClaimScope, Entry, JournalError, Millis, Record, SagaRow, Write, Written},
        machine::Machine,
    },
};

/// How many sagas are taken over, or forgotten, in one transaction.
const AT_ONCE: u32 = 500;
/// How often what has expired is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Begins to keep the coordinator's sagas; ends when the coordinator is gone or drained.
///
/// Leases are renewed three times in their time, and those of others looked at twice as often: what somebody who died
/// has left is begun to be undone within a sixth of a lease after that has run out. What somebody let go of is found at once.
pub(crate) fn keep(hub: &Arc<Hub>) {
    let every = (hub.config.lease / 6).max(Duration::from_millis(1));
    tokio::spawn(keeping(Arc::downgrade(hub), every));
    tokio::spawn(filling(Arc::downgrade(hub), hub.closing.subscribe(), Arc::clone(&hub.places)));
    if let Some(releases) = hub.writer.releases().filter(|_| !hub.writer.is_exclusive()) {
        tokio::spawn(listening(Arc::downgrade(hub), hub.closing.subscribe(), releases));
    }
}

async fn keeping(hub: Weak<Hub>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let prune_every = hub.upgrade().map_or(PRUNE_EVERY, |hub| PRUNE_EVERY.min(hub.config.retention));
    let mut pruned = Instant::now();
    for nth in 1_u64.. {
        ticks.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        // Whoever drains waits for this round, so that nothing is taken over after all was let go of.
        let Some(_at_work) = hub.enter() else { return };
        let mut kept = Ok(());
        if nth.is_multiple_of(2) {
            kept = renew(&hub).await;
        }
        if kept.is_ok() {
            kept = take_over(&hub).await;
        }
        if let Some(court) = hub.suspects.court(hub.config.lease, Instant::now()) {
            tokio::spawn(court.hold(Arc::downgrade(&hub)));
        }
        if kept.is_ok() && pruned.elapsed() >= prune_every {
            pruned = Instant::now();
            kept = prune(&hub).await;
        }
        parked::look(&hub).await;
        if let Err(error) = kept {
            event::not_kept(&hub.writer.watched().name, &error);
            return;
        }
    }
}

/// Takes over what somebody lets go of, when it is told.
async fn listening(hub: Weak<Hub>, mut closing: watch::Receiver<bool>, mut releases: watch::Receiver<()>) {
    loop {
        tokio::select! {
            told = releases.changed() => if told.is_err() { return },
            // An error is that the coordinator is gone.
            _ = closing.wait_for(|closing| *closing) => return,
        }
        let Some(hub) = hub.upgrade() else { return };
        let Some(_at_work) = hub.enter() else { return };
        // What fails here fails in the next round of what keeps the sagas, which says so.
        if take_over(&hub).await.is_err() {
            return;
        }
    }
}

/// Takes over more when half of what was taken over is at rest, if there was more than could be held.
async fn filling(hub: Weak<Hub>, mut closing: watch::Receiver<bool>, places: Arc<Places>) {
    loop {
        tokio::select! {
            () = places.freed() => {}
            // An error is that the coordinator is gone.
            _ = closing.wait_for(|closing| *closing) => return,
        }
        let Some(hub) = hub.upgrade() else { return };
        let Some(_at_work) = hub.enter() else { return };
        let taking_over = places.taking_over().await;
        if !taking_over.is_left() || !places.is_worth_while() {
            continue;
        }
        // What fails here fails in the next round of what keeps the sagas, which says so.
        if fill(&hub, &taking_over).await.is_err() {
            return;
        }
    }
}

async fn renew(hub: &Hub) -> Result<(), JournalError> {
    let renew = Write::Renew { owner: hub.owner.clone(), lease_until: hub.lease_until() };
    hub.writer.write(renew).await.map(drop)
}

/// Forgets what has expired, a little at a time.
async fn prune(hub: &Hub) -> Result<(), JournalError> {
    loop {
        match hub.writer.write(Write::Prune { now: hub.clock.now(), limit: AT_ONCE }).await? {
            Written::Pruned(AT_ONCE..) => {}
            _ => return Ok(()),
        }
    }
}

/// Takes over what nobody holds, as far as there are places, and has it undone or finished. Nobody else is alive who could
/// hold what is in an exclusive journal.
pub(crate) async fn take_over(hub: &Arc<Hub>) -> Result<(), JournalError> {
    let taking_over = hub.places.taking_over().await;
    fill(hub, &taking_over).await
}

async fn fill(hub: &Arc<Hub>, taking_over: &TakingOver<'_>) -> Result<(), JournalError> {
    loop {
        // Nobody could look.
        taking_over.leave(true);
        let Some(mut kept) = taking_over.keep(AT_ONCE) else { return Ok(()) };
        let claim = Write::Claim {
            owner: hub.owner.clone(),
            now: hub.clock.now(),
            lease_until: hub.lease_until(),
            scope: if hub.writer.is_exclusive() { ClaimScope::All } else { ClaimScope::Expired },
            limit: kept.len(),
            most_takeovers: suspects::most_takeovers(hub.config.takeovers),
        };
        let limit = kept.len() as usize;
        let Written::Claimed(claimed) = hub.writer.write(claim).await? else { return Ok(()) };
        if !claimed.is_empty() {
            failpoint::reach("C18").await;
        }
        let was_last = claimed.len() < limit;
        for (row, records) in claimed {
            // A journal that gives more than it was asked for has them left to the next start.
            let Some(place) = kept.place() else { break };
            taken(hub, &row, &records, place);
        }
        drop(kept);
        taking_over.leave(!was_last);
        // One or two at a time isn't worth a transaction; when half of the places are free, it goes on.
        if was_last || !hub.places.is_worth_while() {
            return Ok(());
        }
    }
}

/// What there is to know of a saga that was taken over, beside what the journal says.
#[derive(Debug)]
pub(crate) struct Taken {
    /// When it was.
    pub(crate) since: Millis,
    /// Why it isn't gone on with, but parked.
    pub(crate) poisoned: Option<String>,
    /// Whether somebody waits to see what comes of it, so that it isn't let go of before.
    pub(crate) on_trial: bool,
}

/// Has it recovered, if it isn't what kills coordinators.
fn taken(hub: &Arc<Hub>, row: &SagaRow, records: &[Record], place: Place) {
    let since = hub.clock.now();
    let poisoned = match suspects::verdict(row.takeovers, hub.config.takeovers) {
        Verdict::Innocent => {
            hub.suspects.disturb(Instant::now());
            None
        }
        Verdict::Suspect => return hub.suspects.add(row, since, place),
        Verdict::Culprit => Some(format!(
            "its coordinator died each time it was tried: taken over {} times without getting anywhere, at last alone",
            row.takeovers
        )),
    };
    recover(hub, row, records, &Taken { since, poisoned, on_trial: false }, place);
}

/// Has a saga that was taken over undone or finished.
pub(crate) fn recover(
    hub: &Arc<Hub>,
    row: &SagaRow,
    records: &[Record],
    taken: &Taken,
    place: Place,
) -> Option<Arc<Course>> {
    let machine = match Machine::taken_over(row, records, hub.config.rules()) {
        Ok(machine) => machine,
        Err(inconsistent) => {
            // Left as it is: nothing that we could write would make it better.
            event::damaged(row, &inconsistent.0);
            return None;
        }
    };
    let at_work = hub.enter()?;
    let course = Course::new(Arc::clone(hub), at_work, row.name.clone(), machine, row.created_at);
    event::taken_over(&course);
    let is_decided = records.iter().any(|record| matches!(record.entry, Entry::Commit));
    let poisoned = taken.poisoned.as_deref();
    let definition = hub.definition(row.name.as_str(), row.version).filter(|definition| {
        is_decided || definition.is_at_pivot(records) || (definition.goes_on() && poisoned.is_none())
    });
    course.occupy(place);
    course.tell(|machine, now| {
        machine.recover(poisoned, definition.is_some(), taken.since);
        if !taken.on_trial {
            machine.let_go_if_longer_than(hub.config.lease, now);
        }
    });
    course.conducted();
    if let Some(definition) = definition {
        let until = row.deadline.map(|deadline| Instant::now() + hub.clock.until(deadline));
        let poisoned = taken.poisoned.clone();
        resume(definition, Arc::clone(&course), records, Found { poisoned, until });
    }
    Some(course)
}

/// Has a definition go on with a saga where its records end, in a task of its own.
pub(crate) fn resume(definition: &Arc<dyn Resume>, course: Arc<Course>, records: &[Record], found: Found) {
    tokio::spawn(definition.resume(course, records, found));
}
