//! What is acknowledged is there after the power is lost, whatever moment it is lost at.
//!
//! A process writes to a journal, under the real SQLite, while a shim (`shim.c`, compiled by the test with `cc`) writes down
//! what it does to its files. From that, the disk is worked out as it may be found after each single operation: without
//! anything that wasn't synced, with a part of it in any order, with a last write that is torn. Each is opened, and must hold
//! what memory holds after the batches that were acknowledged by then, or those and some that were under way; nothing in
//! between, and nothing else.
//!
//! Killing a process proves nothing of the kind: what it wrote is in the kernel, synced or not. See the last test.

#![cfg(target_os = "linux")]

mod disk;
mod run;
mod workload;

use run::{Faults, Run};

/// The process that writes; see [`run`].
#[test]
fn child() {
    workload::write_if_told();
}

#[test]
fn what_is_acknowledged_is_there_whenever_the_power_is_lost() {
    let mut run = Run::new("FULL");
    run.process(Faults::default());
    let looked = run.check(0..usize::MAX).unwrap_or_else(|lost| panic!("{lost}"));
    println!("{looked} disks");
    assert!(looked > 1000, "only {looked} disks were looked at");
    assert_eq!(run.acknowledged(), workload::BATCHES, "the process didn't come to its end");
}

/// What couldn't be synced is still in the kernel's memory, so the next process finds it, builds on it, and only then is the
/// power lost.
#[test]
fn after_a_failed_fsync_nothing_is_acknowledged_and_nothing_lost_by_going_on() {
    let faults = [1, 2, 5, 9, 20, 31].map(|nth| Faults { sync: nth, ..Faults::default() });
    go_on_after(faults);
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_and_nothing_lost_by_going_on() {
    let faults = [1, 11, 40, 97, 200, 333].map(|nth| Faults { write: nth, ..Faults::default() });
    go_on_after(faults);
}

fn go_on_after<const N: usize>(faults: [Faults; N]) {
    let (mut looked, mut noticed) = (0, 0);
    for faults in faults {
        let mut run = Run::new("FULL");
        run.process(faults);
        let fault = run.operations();
        if run.acknowledged() < workload::BATCHES {
            noticed += 1;
            run.process(Faults::default());
        }
        assert_eq!(run.acknowledged(), workload::BATCHES, "after {faults:?}");
        looked += run.check(fault.saturating_sub(20)..fault + 100).unwrap_or_else(|lost| panic!("{faults:?}: {lost}"));
    }
    println!("{looked} disks");
    // SQLite takes no notice of a folder that can't be synced, and needn't: opening a journal syncs it once more.
    assert!(noticed + 1 >= N, "only {noticed} of {N} faults were noticed");
}

/// A checker that can't fail proves nothing.
#[test]
fn without_an_fsync_at_every_commit_the_loss_is_seen() {
    let mut run = Run::new("NORMAL");
    run.process(Faults::default());
    assert_eq!(run.acknowledged(), workload::BATCHES, "the process noticed nothing");
    let lost = run.check(0..usize::MAX).expect_err("synchronous=NORMAL loses what it acknowledged, and it wasn't seen");
    assert!(lost.contains("acknowledged"), "{lost}");
    println!("{lost}");
}
