//! A journal that is gone when the process is: for tests, and for sagas that need not survive it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Change, ClaimScope, Entry, Fence, Filter, Journal, JournalError, Lookup, Millis, Needs, Record, Releases, SagaRow,
    State, Write, Written,
};
use crate::step::SagaId;

/// A journal in memory. Clones share what it holds, so that a test can let a second coordinator find what the first left.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// In the order of their ids, which is that of time.
    sagas: BTreeMap<SagaId, Kept>,
    by_key: HashMap<String, SagaId>,
    /// Unfinished ones only.
    by_exclusive: HashMap<String, SagaId>,
    releases: Releases,
}

#[derive(Debug)]
struct Kept {
    row: SagaRow,
    records: Vec<Record>,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        let mut held = self.held();
        Ok(batch.iter().map(|write| held.write(write)).collect())
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        Ok(Box::new(self.clone()))
    }

    fn releases(&self) -> Option<Releases> {
        Some(self.held().releases.clone())
    }
}

impl Lookup for MemoryJournal {
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
        Ok(self.held().sagas.get(&id).map(|kept| kept.row.clone()))
    }

    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
        let held = self.held();
        Ok(held.by_key.get(scope_key).and_then(|id| held.sagas.get(id)).map(|kept| kept.row.clone()))
    }

    fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError> {
        Ok(self.held().sagas.get(&id).map(|kept| kept.records.clone()).unwrap_or_default())
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError> {
        let held = self.held();
        let matching = held.sagas.values().rev().map(|kept| &kept.row).filter(|row| {
            filter.before.is_none_or(|before| row.id < before)
                && filter.state.is_none_or(|state| row.state == state)
                && filter.name.as_ref().is_none_or(|name| row.name.as_str() == name)
        });
        Ok(matching.take(filter.limit as usize).cloned().collect())
    }

    fn needs(&mut self) -> Result<Needs, JournalError> {
        let held = self.held();
        let mut calls = BTreeSet::new();
        let mut definitions = BTreeSet::new();
        for kept in held.sagas.values().filter(|kept| !kept.row.state.is_final()) {
            if kept.row.version > 0 {
                definitions.insert((kept.row.name.to_string(), kept.row.version));
            }
            calls.extend(kept.records.iter().filter_map(|record| match &record.entry {
                Entry::Intent { undo: Some(invocation), .. } | Entry::Then { call: invocation, .. } => {
                    Some(invocation.call.to_string())
                }
                _ => None,
            }));
        }
        Ok(Needs { calls: calls.into_iter().collect(), definitions: definitions.into_iter().collect() })
    }
}

impl Held {
    fn write(&mut self, write: &Write) -> Written {
        match write {
            Write::Open(row, records) => self.open(row, records),
            Write::Append { fence, records, change } => self.append(fence, records, change),
            Write::Claim { owner, now, lease_until, scope, limit, most_takeovers } => {
                let claimed = self.claimable(owner, *now, scope).take(*limit as usize);
                let claimed: Vec<_> = claimed
                    .map(|kept| {
                        let row = &mut kept.row;
                        row.takeovers = match row.owner {
                            Some(_) if row.takeovers < *most_takeovers => row.takeovers + 1,
                            Some(_) => row.takeovers,
                            None => row.takeovers.min(*most_takeovers),
                        };
                        (row.owner, row.lease_until) = (Some(owner.clone()), Some(*lease_until));
                        row.epoch += 1;
                        (row.clone(), kept.records.clone())
                    })
                    .collect();
                Written::Claimed(claimed)
            }
            Write::Renew { owner, lease_until } => self.lease(owner, Some(*lease_until)),
            Write::Release { owner } => {
                self.releases.tell();
                self.lease(owner, None)
            }
            Write::Prune { now, limit } => Written::Pruned(self.prune(*now, *limit)),
        }
    }

    fn open(&mut self, row: &SagaRow, records: &[Record]) -> Written {
        if let Some(taken) = row.scope_key.as_ref().and_then(|key| self.by_key.get(key)) {
            return Written::KeyTaken(Box::new(self.sagas[taken].row.clone()));
        }
        if let Some(taken) =
            row.exclusive.as_ref().filter(|_| !row.state.is_final()).and_then(|key| self.by_exclusive.get(key))
        {
            return Written::ExclusiveTaken(*taken);
        }
        if self.sagas.contains_key(&row.id) {
            return Written::Fenced;
        }
        if let Some(key) = &row.scope_key {
            self.by_key.insert(key.clone(), row.id);
        }
        if let Some(key) = row.exclusive.as_ref().filter(|_| !row.state.is_final()) {
            self.by_exclusive.insert(key.clone(), row.id);
        }
        self.sagas.insert(row.id, Kept { row: row.clone(), records: records.to_vec() });
        Written::Ok
    }

    fn append(&mut self, fence: &Fence, records: &[Record], change: &Change) -> Written {
        let Some(Kept { row, records: kept }) = self.sagas.get_mut(&fence.saga) else { return Written::Fenced };
        if row.owner.as_ref() != Some(&fence.owner) || row.epoch != fence.epoch || row.state.is_final() {
            return Written::Fenced;
        }
        kept.extend_from_slice(records);
        let key = row.scope_key.clone();
        change.apply(row);
        if row.owner.is_none() && !row.state.is_final() && row.state != State::Parked && row.wake_at.is_none() {
            self.releases.tell();
        }
        if let (Some(key), None) = (key, &row.scope_key) {
            self.by_key.remove(&key);
        }
        if row.state.is_final()
            && let Some(key) = &row.exclusive
        {
            self.by_exclusive.remove(key);
        }
        Written::Ok
    }

    fn claimable(&mut self, owner: &str, now: Millis, scope: &ClaimScope) -> impl Iterator<Item = &mut Kept> {
        let expired = move |row: &SagaRow| row.lease_until.is_none_or(|until| until < now);
        let mine = move |row: &SagaRow| row.owner.as_deref() == Some(owner);
        let waits = move |row: &SagaRow| row.owner.is_none() && row.wake_at.is_some_and(|at| at > now);
        let wanted = move |row: &SagaRow| match scope {
            ClaimScope::Expired => row.state != State::Parked && !mine(row) && !waits(row) && expired(row),
            ClaimScope::All => row.state != State::Parked && !mine(row) && !waits(row),
            ClaimScope::One(id) => row.id == *id && (mine(row) || expired(row)),
        };
        self.sagas.values_mut().filter(move |kept| !kept.row.state.is_final() && wanted(&kept.row))
    }

    fn lease(&mut self, owner: &str, until: Option<Millis>) -> Written {
        let held = self.sagas.values_mut().map(|kept| &mut kept.row);
        for row in held.filter(|row| !row.state.is_final() && row.owner.as_deref() == Some(owner)) {
            row.lease_until = until;
            if until.is_none() {
                (row.owner, row.wake_at) = (None, None);
            }
        }
        Written::Ok
    }

    fn prune(&mut self, now: Millis, limit: u32) -> u32 {
        let at_rest = self.sagas.values().map(|kept| &kept.row).filter(|row| row.state.is_final());
        let over = at_rest.filter_map(|row| Some((row.expires_at.filter(|expires| *expires <= now)?, row.id)));
        let over: BTreeSet<(Millis, SagaId)> = over.collect();
        let over: Vec<SagaId> = over.into_iter().map(|(_, id)| id).take(limit as usize).collect();
        for id in &over {
            if let Some(key) = self.sagas.remove(id).and_then(|kept| kept.row.scope_key) {
                self.by_key.remove(&key);
            }
        }
        over.len() as u32
    }
}
