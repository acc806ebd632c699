//! What is durable.

use std::rc::Rc;

use super::{Fault, wrong};
use crate::saga::journal::{Entry, Millis, Record, SagaRow, Write, Written};

/// The journal of one saga, as a disk has it: what was lost in a crash never came here.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Store {
    pub(super) row: Option<SagaRow>,
    // Shared between worlds until one of them writes.
    pub(super) records: Rc<Vec<Record>>,
    /// The epoch that wrote last.
    pub(super) epoch: u64,
    pub(super) unfenced: bool,
}

impl Store {
    /// Carries a write out, and holds it to what a journal is (I8).
    pub(super) fn write(&mut self, write: &Write) -> Result<Written, Fault> {
        let (records, epoch) = match write {
            Write::Open(row, records) => {
                if self.row.is_some() {
                    return Err(wrong("I8: the saga begins a second time"));
                }
                self.row = Some((**row).clone());
                (records, row.epoch)
            }
            Write::Append { fence, records, change } => {
                let Some(row) = &mut self.row else { return Ok(Written::Fenced) };
                if !self.unfenced && (row.owner.as_ref() != Some(&fence.owner) || row.epoch != fence.epoch) {
                    return Ok(Written::Fenced);
                }
                change.apply(row);
                (records, fence.epoch)
            }
            other => return Err(wrong(format!("a saga doesn't write {other:?}"))),
        };
        if epoch < self.epoch {
            return Err(wrong(format!("I8: epoch {epoch} writes after {}", self.epoch)));
        }
        self.epoch = epoch;
        for record in records {
            if record.seq as usize != self.records.len() {
                return Err(wrong(format!("I8: record {} where {} should be", record.seq, self.records.len())));
            }
            if matches!(self.records.last(), Some(Record { entry: Entry::End { .. }, .. })) {
                return Err(wrong(format!("I8: {:?} after the end", record.entry)));
            }
            Rc::make_mut(&mut self.records).push(record.clone());
        }
        Ok(Written::Ok)
    }

    /// A coordinator takes the saga over, whatever its lease says.
    pub(super) fn claim(&mut self, owner: String, lease_until: Millis) -> (SagaRow, Vec<Record>) {
        let row = self.row.as_mut().expect("there is one to be taken over");
        row.takeovers += u32::from(row.owner.is_some());
        row.owner = Some(owner);
        row.epoch += 1;
        row.lease_until = Some(lease_until);
        (row.clone(), self.records.to_vec())
    }

    pub(super) fn has(&self, entry: impl Fn(&Entry) -> bool) -> bool {
        self.records.iter().any(|record| entry(&record.entry))
    }

    pub(super) fn is_committed(&self) -> bool {
        self.has(|entry| matches!(entry, Entry::Commit))
    }

    pub(super) fn is_undone(&self) -> bool {
        self.has(|entry| matches!(entry, Entry::Undo { .. }))
    }
}
