//! Who is guaranteed which part of the limit, and what of it is lent out.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::queue::Waiting;
use crate::{bulkhead::config::Partition, name::Name};

/// For how long a share is kept for its owner after having been used, once over; at most twice as long.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(1);

/// The partitions of a bulkhead, of which the first is everybody's who has none of his own.
#[derive(Debug)]
pub(super) struct Compartments {
    slots: Vec<Compartment>,
    /// When what was in use of late is forgotten, by halves.
    turns: Option<Instant>,
}

/// A partition: who of it is inside, and who waits.
#[derive(Debug)]
pub(crate) struct Compartment {
    pub(crate) name: Name,
    share: f64,
    pub(crate) inside: u32,
    /// The most of it that were inside or asked to be, in the present period and in the one before.
    peaks: [u32; 2],
    /// Who waits, by class and in the order in which they came.
    pub(super) lines: [BTreeMap<u64, Waiting>; 4],
}

impl Default for Compartments {
    fn default() -> Self {
        Self { slots: vec![Compartment::new(Partition::new(Partition::DEFAULT, 0.0))], turns: None }
    }
}

impl Compartments {
    /// Slots that a permit's stamp can tell apart.
    pub(super) const MOST: usize = 255;

    /// Other partitions. One that is gone keeps its slot, without a share, until the last of its calls has ended.
    ///
    /// # Errors
    ///
    /// If too many that are gone still have calls.
    pub(super) fn set(&mut self, partitions: &[Partition]) -> Result<(), ()> {
        let new = partitions.iter().filter(|partition| self.find(&partition.name).is_none()).count();
        let reusable = self.slots[1..].iter().filter(|slot| slot.is_idle() && !slot.is_among(partitions)).count();
        if new > reusable + Self::MOST - self.slots.len() {
            return Err(());
        }
        for slot in &mut self.slots {
            slot.share = partitions.iter().find(|other| other.name == slot.name).map_or(0.0, |other| other.share);
        }
        for partition in partitions {
            if self.find(&partition.name).is_some() {
                continue;
            }
            let compartment = Compartment::new(partition.clone());
            match self.slots[1..].iter_mut().find(|slot| slot.is_idle() && !slot.is_among(partitions)) {
                Some(slot) => *slot = compartment,
                None => self.slots.push(compartment),
            }
        }
        Ok(())
    }

    /// The slot of the partition of this name, or everybody's.
    pub(super) fn slot(&self, name: &str) -> u8 {
        self.slots.iter().position(|slot| slot.name.as_str() == name).unwrap_or(0) as u8
    }

    fn find(&self, name: &Name) -> Option<&Compartment> {
        self.slots.iter().find(|slot| slot.name == *name)
    }

    pub(super) fn get(&self, slot: u8) -> &Compartment {
        &self.slots[usize::from(slot)]
    }

    pub(super) fn get_mut(&mut self, slot: u8) -> &mut Compartment {
        &mut self.slots[usize::from(slot)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &Compartment)> {
        (0..).zip(&self.slots)
    }

    /// Whether a call of this partition may come in, with so many inside in all: always within its share; beyond it, as
    /// long as there is room for what the others have lately used of theirs.
    pub(super) fn has_room(&self, slot: u8, limit: u32, inside: u32) -> bool {
        let own = self.get(slot);
        if own.inside < own.guaranteed(limit) {
            return inside < limit;
        }
        let kept: u32 = self.iter().filter(|(other, _)| *other != slot).map(|(_, other)| other.kept(limit)).sum();
        inside + kept < limit
    }

    /// Forgets what was in use too long ago.
    pub(super) fn pass(&mut self, now: Instant) {
        let Some(turns) = self.turns.filter(|turns| now < *turns + KEPT_FOR) else {
            self.turns = Some(now + KEPT_FOR);
            self.slots.iter_mut().for_each(|slot| slot.peaks = [slot.present(); 2]);
            return;
        };
        if now >= turns {
            self.turns = Some(turns + KEPT_FOR);
            self.slots.iter_mut().for_each(|slot| slot.peaks = [slot.present(), slot.peaks[0]]);
        }
    }
}

impl Compartment {
    fn new(partition: Partition) -> Self {
        let Partition { name, share } = partition;
        Self { name, share, inside: 0, peaks: [0; 2], lines: Default::default() }
    }

    /// Its share of the limit, in whole calls.
    pub(crate) fn guaranteed(&self, limit: u32) -> u32 {
        // A share that is a whole number but for its last bit is one.
        (self.share * f64::from(limit) + 1e-6) as u32
    }

    /// What has to be kept free for it.
    fn kept(&self, limit: u32) -> u32 {
        let used = self.peaks[0].max(self.peaks[1]);
        self.guaranteed(limit).min(used).saturating_sub(self.inside)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.lines.iter().map(|line| line.len() as u32).sum()
    }

    fn present(&self) -> u32 {
        self.inside + self.waiting()
    }

    /// A call of it waits from now on.
    pub(super) fn waits(&mut self) {
        self.peaks[0] = self.peaks[0].max(self.present());
    }

    /// A call of it came in, or was refused: then its whole share is asked for.
    pub(super) fn asked(&mut self, entered: bool, limit: u32) {
        self.inside += u32::from(entered);
        let wanted = if entered { self.present() } else { self.guaranteed(limit) };
        self.peaks[0] = self.peaks[0].max(wanted);
    }

    fn is_idle(&self) -> bool {
        self.present() == 0
    }

    fn is_among(&self, partitions: &[Partition]) -> bool {
        partitions.iter().any(|partition| partition.name == self.name)
    }
}
