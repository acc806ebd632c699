//! The one that writes: on a thread of its own, in batches, and never again after a failure.

use buttress::saga::journal::{JournalError, Writer};
use futures_util::future::join_all;

use super::*;
use crate::saga::controlled::{Controlled, Order};

/// A writer whose every batch waits for an order.
fn held() -> (Writer, Controlled) {
    let control = Controlled::held();
    (Writer::threaded(control.clone()).unwrap(), control)
}

fn many(number: u32, seqs: std::ops::Range<u32>) -> Vec<Write> {
    seqs.map(|seq| append(fence(number as u8, "a", 1), vec![intent(seq)], Change::default())).collect()
}

#[tokio::test]
async fn what_waits_is_written_in_one_batch_up_to_its_bound() {
    let (writer, control) = held();
    let first = writer.submit(open(&row(1, "a")), None);
    control.came().await;
    let acks: Vec<_> = many(1, 1..2001).into_iter().map(|write| writer.submit(write, None)).collect();
    control.order(Order::Write);
    assert_eq!(first.await, Ok(Written::Ok));
    assert_eq!(control.next(Order::Write), 1024);
    assert_eq!(control.next(Order::Write), 976);
    assert!(join_all(acks).await.into_iter().all(|written| written == Ok(Written::Ok)));
    let records = writer.ask(|journal| journal.records(id(1))).await.unwrap();
    assert!(records.iter().map(|record| record.seq).eq(0..2001), "in the order in which they were submitted");
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_too_and_one_write_may_be_larger() {
    let (writer, control) = held();
    let large = |kib: usize| {
        let input = Bytes::from(vec![b' '; kib * 1024]);
        let record = Record { seq: 0, at: 0, entry: Entry::Begun { input } };
        append(fence(1, "a", 1), vec![record], Change::default())
    };
    let first = writer.submit(open(&row(1, "a")), None);
    control.came().await;
    let acks: Vec<_> = [400, 400, 400, 2000, 10].map(large).map(|write| writer.submit(write, None)).into();
    control.order(Order::Write);
    assert_eq!([(); 4].map(|()| control.next(Order::Write)), [2, 1, 1, 1]);
    assert_eq!(first.await, Ok(Written::Ok));
    assert!(join_all(acks).await.into_iter().all(|written| written.is_ok()));
}

#[tokio::test]
async fn after_a_failure_everybody_is_told_and_nothing_is_written_again() {
    for (order, why) in [
        (Order::Fail, "saga journal: no space left"),
        (Order::Panic, "saga journal: it panicked: out of its depth"),
        (Order::AnswerTooFew, "saga journal: 0 answers were given for 1 writes"),
    ] {
        let (writer, control) = held();
        let written = writer.submit(open(&row(1, "a")), None);
        control.next(Order::Write);
        written.await.unwrap();

        let failed = writer.submit(open(&row(2, "a")), None);
        control.came().await;
        let waiting: Vec<_> = many(1, 1..4).into_iter().map(|write| writer.submit(write, None)).collect();
        control.order(order);
        assert_eq!(failed.await.unwrap_err().to_string(), why);
        let after = "saga journal: nothing more is written, because an earlier write failed: ";
        for problem in join_all(waiting).await {
            assert_eq!(problem.unwrap_err().to_string(), why.replace("saga journal: ", after));
        }
        assert!(writer.write(open(&row(3, "a"))).await.is_err());
        assert!(control.try_came().is_none(), "the store was written again");
        assert_eq!(writer.ask(|journal| journal.list(&everything())).await.unwrap(), [row(1, "a")], "reading goes on");
        writer.close().await;
    }
}

#[tokio::test]
async fn inline_too_nothing_is_written_after_a_failure() {
    let control = Controlled::default();
    let writer = Writer::inline(control.clone());
    control.order(Order::Panic);
    assert!(writer.write(open(&row(1, "a"))).await.is_err());
    assert!(writer.write(open(&row(1, "a"))).await.is_err());
    assert_eq!(control.batches(), 1);
}

#[tokio::test]
async fn a_question_does_not_wait_for_a_write() {
    let (writer, control) = held();
    let written = writer.submit(open(&row(1, "a")), None);
    control.came().await;
    assert_eq!(writer.ask(|journal| journal.saga(id(1))).await, Ok(None));
    control.order(Order::Write);
    written.await.unwrap();
    assert_eq!(writer.ask(|journal| journal.saga(id(1))).await, Ok(Some(row(1, "a"))));
}

#[tokio::test]
async fn a_question_that_fails_or_panics_is_answered_and_others_go_on() {
    let (writer, _control) = held();
    let problem = writer.ask(|_| Err::<(), _>(JournalError::new("unreadable"))).await.unwrap_err();
    assert_eq!(problem.to_string(), "saga journal: unreadable");
    let problem = writer.ask(|_| -> Result<(), _> { panic!("a bad question") }).await.unwrap_err();
    assert_eq!(problem.to_string(), "saga journal: it panicked: a bad question");
    assert_eq!(writer.ask(|journal| journal.saga(id(1))).await, Ok(None));
}

#[tokio::test]
async fn there_is_room_for_so_many_and_it_is_given_back_when_they_are_written() {
    let (writer, control) = held();
    let mut acks = vec![writer.submit(open(&row(1, "a")), writer.try_room())];
    let mut seq = 1;
    while let Some(room) = writer.try_room() {
        acks.push(writer.submit(many(1, seq..seq + 1).remove(0), Some(room)));
        seq += 1;
    }
    assert_eq!(acks.len(), 4096);
    let mut waiting = tokio_test::task::spawn(writer.room());
    tokio_test::assert_pending!(waiting.poll());
    control.henceforth(Order::Write);
    join_all(acks).await;
    drop(waiting.await);
    assert!(format!("{writer:?}").contains("room: 4096"), "{writer:?}");
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_written() {
    let (writer, control) = held();
    drop(writer.submit(open(&row(1, "a")), None));
    control.next(Order::Write);
    writer.close().await;
    assert_eq!(control.journal.clone().saga(id(1)).unwrap(), Some(row(1, "a")));
}

#[tokio::test]
async fn when_the_last_clone_is_dropped_what_was_submitted_is_written_and_the_journal_let_go() {
    let (writer, control) = held();
    let acks: Vec<_> = (1..=9).map(|number| writer.clone().submit(open(&row(number, "a")), None)).collect();
    drop(writer);
    control.henceforth(Order::Write);
    assert!(join_all(acks).await.into_iter().all(|written| written == Ok(Written::Ok)));
    assert_eq!(control.journal.clone().list(&everything()).unwrap().len(), 9);
    let let_go = async {
        while !control.is_let_go() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), let_go).await.expect("the journal is let go");
}

#[tokio::test]
async fn a_closed_journal_may_be_opened_again_and_takes_nothing_more() {
    let folder = Folder::new();
    let writer = Writer::threaded(SqliteJournal::open(folder.file()).unwrap()).unwrap();
    assert!(writer.is_exclusive());
    let ack = writer.submit(open(&row(1, "a")), None);
    assert!(SqliteJournal::open(folder.file()).is_err());
    tokio::join!(writer.close(), writer.close());
    assert_eq!(ack.await, Ok(Written::Ok), "what was submitted is written first");
    let closed = "saga journal: it is closed; this was neither written nor read";
    assert_eq!(writer.write(open(&row(2, "a"))).await.unwrap_err().to_string(), closed);
    assert_eq!(writer.ask(|journal| journal.needs()).await.unwrap_err().to_string(), closed);
    let mut journal = SqliteJournal::open(folder.file()).unwrap();
    assert_eq!(journal.list(&everything()).unwrap(), [row(1, "a")]);
}

/// Sixty-four tasks, each with a saga of its own, some of which give up waiting, while others ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nothing_is_lost_or_out_of_order_and_nobody_hangs() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let folder = Folder::new();
    let mut options = SqliteOptions::default();
    options.planted_synchronous = Some("OFF");
    let writer = Writer::threaded(SqliteJournal::open_with(folder.file(), options).unwrap()).unwrap();
    let tasks = (0..64_u8).map(|number| {
        let writer = writer.clone();
        let mut chance = fastrand::Rng::with_seed(seed ^ u64::from(number));
        tokio::spawn(async move {
            writer.write(open(&row(number, "a"))).await.unwrap();
            for seq in 1..100 {
                let write = many(u32::from(number), seq..seq + 1).remove(0);
                match chance.u8(..4) {
                    0 => drop(writer.submit(write, Some(writer.room().await))),
                    _ => assert_eq!(writer.write(write).await, Ok(Written::Ok)),
                }
                if chance.u8(..16) == 0 {
                    let known = writer.ask(move |journal| journal.records(id(number))).await.unwrap();
                    assert!(known.iter().map(|record| record.seq).eq(0..known.len() as u32));
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    writer.close().await;
    let mut journal = SqliteJournal::open(folder.file()).unwrap();
    for number in 0..64 {
        assert!(journal.records(id(number)).unwrap().iter().map(|record| record.seq).eq(0..100), "{number}");
    }
}
