//! What is taken over is bounded, and what has long to wait is let go of.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use buttress::{
    BoxError,
    backoff::{Backoff, Jitter},
    saga::{
        Coordinator, CoordinatorBuilder, CoordinatorConfig,
        journal::{
            Change, Entry, Fence, Filter, Invocation, Journal, MemoryJournal, Record, SagaRow, SqliteJournal, State,
            Write, Written,
        },
    },
    step::{Op, SagaId, StepKey},
};
use tokio::time::{Instant, sleep, timeout};
use tower::service_fn;

use super::{
    journal::Folder,
    recovery::{LEASE, process},
    suspects::Alone,
    world::{TAKE_BACK, TakeBack},
};

const HOUR: Duration = Duration::from_secs(3600);

fn id(number: usize) -> SagaId {
    SagaId::from_bytes((number as u128 + 1).to_be_bytes())
}

/// What a process that died left: sagas of one step, which may have happened, and may arrive late by `settle`.
fn leave(journal: &mut dyn Journal, numbers: std::ops::Range<usize>, step: &str, settle: Duration) {
    let open = |number| {
        let of = StepKey::new(id(number), step.to_owned(), 0, Op::Undo).unwrap();
        let args = serde_json::to_vec(&TakeBack { of }).unwrap().into();
        let undo = Some(Invocation { call: "world.take-back".into(), args });
        let entry = Entry::Intent { number: 0, step: step.to_owned().into(), undo, settle: settle.as_millis() as u32 };
        let row = SagaRow {
            id: id(number),
            name: "place-order".into(),
            version: 0,
            scope_key: None,
            fingerprint: None,
            exclusive: None,
            state: State::Running,
            owner: Some("dead".to_owned()),
            epoch: 1,
            lease_until: Some(1),
            wake_at: None,
            takeovers: 0,
            parent: None,
            deadline: None,
            trace: None,
            created_at: 1,
            ended_at: None,
            expires_at: None,
            answer: None,
        };
        Write::Open(Box::new(row), vec![Record { seq: 0, at: 1, entry }])
    };
    let batch: Vec<Write> = numbers.map(open).collect();
    for batch in batch.chunks(500) {
        assert!(journal.write(batch).unwrap().iter().all(|written| *written == Written::Ok));
    }
}

/// Those that were tried, in order; how many undos are made at once, and how many were at most.
#[derive(Clone, Default)]
struct Undos {
    tried: Arc<Mutex<Vec<StepKey>>>,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Undos {
    /// Undoes what isn't called "stuck", and that only from `works` on.
    fn register(&self, builder: CoordinatorBuilder, takes: Duration, works: Instant) -> CoordinatorBuilder {
        let this = self.clone();
        let undo = service_fn(move |undo: TakeBack| {
            let this = this.clone();
            async move {
                this.most.fetch_max(this.at_once.fetch_add(1, SeqCst) + 1, SeqCst);
                sleep(takes).await;
                this.at_once.fetch_sub(1, SeqCst);
                let is_stuck = undo.of.step().as_str() == "stuck" && Instant::now() < works;
                this.tried.lock().unwrap().push(undo.of);
                if is_stuck { Err(BoxError::from("not now")) } else { Ok(()) }
            }
        });
        builder.on(TAKE_BACK, undo)
    }

    fn tried(&self) -> usize {
        self.tried.lock().unwrap().len()
    }
}

fn bound(recover_at_once: usize) -> CoordinatorConfig {
    let mut config = CoordinatorConfig::default();
    (config.recover_at_once, config.at_once) = (recover_at_once, 100_000);
    config.backoff = Backoff::exponential(HOUR).at_most(HOUR).jitter(Jitter::None);
    config
}

fn rows(journal: &impl Journal) -> Vec<SagaRow> {
    let mut reader = journal.reader().unwrap();
    reader.list(&Filter { state: None, name: None, before: None, limit: u32::MAX }).unwrap()
}

fn count(journal: &impl Journal, wanted: impl Fn(&SagaRow) -> bool) -> usize {
    rows(journal).iter().filter(|row| wanted(row)).count()
}

fn undone(journal: &impl Journal) -> usize {
    count(journal, |row| row.state == State::Undone)
}

fn held(journal: &impl Journal) -> usize {
    count(journal, |row| row.owner.as_deref().is_some_and(|owner| owner != "dead"))
}

/// Waits until so many are undone, and says how long that took and how many were held at once at most.
async fn rest(journal: &impl Journal, expected: usize, look_every: Duration) -> (Duration, usize) {
    let (began, mut most) = (Instant::now(), 0);
    while undone(journal) < expected {
        assert!(began.elapsed() < HOUR * 3, "{} of {expected}", undone(journal));
        most = most.max(held(journal));
        sleep(look_every).await;
    }
    (began.elapsed(), most)
}

async fn thousands(
    journal: impl Journal + Clone,
    make: fn(MemoryJournal) -> CoordinatorBuilder,
    memory: MemoryJournal,
) {
    leave(&mut journal.clone(), 0..5000, "reserve", Duration::ZERO);
    let undos = Undos::default();
    let builder = undos.register(make(memory), Duration::from_millis(10), Instant::now());
    let _next = builder.config(bound(50)).start().await.unwrap();
    let (took, most) = rest(&journal, 5000, Duration::from_millis(5)).await;
    println!("{took:?}; {most} held and {} undone at once", undos.most.load(SeqCst));
    assert!(most <= 50 && undos.most.load(SeqCst) <= 50 && most > 25, "{most}");
    assert_eq!(undos.tried(), 5000);
    assert!(
        took <= Duration::from_secs(4),
        "the next are taken over when there is room, not in the next round: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn of_thousands_that_were_left_no_more_are_held_at_once_than_may_be_and_all_are_undone() {
    let memory = MemoryJournal::new();
    thousands(memory.clone(), Coordinator::with_inline_journal, memory).await;
}

#[tokio::test(start_paused = true)]
async fn of_thousands_that_were_left_to_who_is_alone_no_more_are_held_at_once_than_may_be() {
    let memory = MemoryJournal::new();
    let make = |memory| Coordinator::with_inline_journal(Alone(memory));
    thousands(memory.clone(), make, memory).await;
}

#[tokio::test]
async fn of_thousands_that_were_left_in_a_file_no_more_are_undone_at_once_than_may_be_and_all_are() {
    let folder = Folder::new();
    leave(&mut SqliteJournal::open(folder.file()).unwrap(), 0..5000, "reserve", Duration::ZERO);
    let (undos, began) = (Undos::default(), Instant::now());
    let builder = undos.register(Coordinator::sqlite(folder.file()), Duration::from_millis(1), began);
    let next = builder.config(bound(50)).start().await.unwrap();
    let all = async {
        while undos.tried() < 5000 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(120), all).await.unwrap_or_else(|_| panic!("{} of 5000", undos.tried()));
    println!("{:?}; {} undone at once", began.elapsed(), undos.most.load(SeqCst));
    assert!(undos.most.load(SeqCst) <= 50);
    assert!(next.drain(LEASE).await.unwrap().in_time);
    assert_eq!(undone(&SqliteJournal::open(folder.file()).unwrap()), 5000);
}

/// A hundred in front of the others can't be undone for an hour.
async fn stuck_in_front(memory: MemoryJournal, builder: CoordinatorBuilder) {
    leave(&mut memory.clone(), 0..100, "stuck", Duration::ZERO);
    leave(&mut memory.clone(), 100..1000, "reserve", Duration::ZERO);
    let (undos, works) = (Undos::default(), Instant::now() + HOUR / 2);
    let builder = undos.register(builder, Duration::from_millis(10), works);
    let _next = builder.config(bound(20)).start().await.unwrap();
    let (took, most) = rest(&memory, 900, Duration::from_millis(5)).await;
    assert!(took < LEASE && most <= 20, "{took:?}, {most} at once");
    sleep(LEASE).await;
    let waits = count(&memory, |row| row.owner.is_none() && row.wake_at.is_some() && row.state == State::Undoing);
    assert_eq!((waits, undos.tried()), (100, 1000), "all that waits is let go of, and tried once");

    let (took, most) = rest(&memory, 1000, Duration::from_secs(1)).await;
    assert!(took > HOUR - LEASE * 4 && took < HOUR + LEASE && most <= 20, "{took:?}, {most} at once");
    assert_eq!(undos.tried(), 1100);
}

#[tokio::test(start_paused = true)]
async fn what_backs_off_for_an_hour_holds_nobody_up_and_is_tried_again_then() {
    let memory = MemoryJournal::new();
    stuck_in_front(memory.clone(), Coordinator::with_inline_journal(memory)).await;
}

#[tokio::test(start_paused = true)]
async fn what_backs_off_for_an_hour_holds_nobody_up_who_is_alone() {
    let memory = MemoryJournal::new();
    stuck_in_front(memory.clone(), Coordinator::with_inline_journal(Alone(memory))).await;
}

#[tokio::test(start_paused = true)]
async fn what_backs_off_for_less_than_a_lease_is_kept() {
    let memory = MemoryJournal::new();
    leave(&mut memory.clone(), 0..1, "stuck", Duration::ZERO);
    let (undos, began) = (Undos::default(), Instant::now());
    let builder = undos.register(Coordinator::with_inline_journal(memory.clone()), Duration::ZERO, began + LEASE / 2);
    let mut config = bound(50);
    config.backoff = Backoff::exponential(LEASE - Duration::from_secs(1));
    let _next = builder.config(config).start().await.unwrap();
    let _ = rest(&memory, 1, Duration::from_millis(10)).await;
    assert_eq!(rows(&memory)[0].epoch, 2, "it was taken over once");
}

#[tokio::test(start_paused = true)]
async fn what_has_to_settle_for_an_hour_does_so_once_and_without_anybody() {
    let memory = MemoryJournal::new();
    leave(&mut memory.clone(), 0..10, "reserve", HOUR);
    let undos = Undos::default();
    let builder = undos.register(Coordinator::with_inline_journal(memory.clone()), Duration::ZERO, Instant::now());
    let _next = builder.config(bound(3)).start().await.unwrap();
    sleep(HOUR - LEASE).await;
    assert_eq!((undos.tried(), held(&memory)), (0, 0), "late actions have their time");
    let (took, _) = rest(&memory, 10, Duration::from_millis(10)).await;
    assert!(took < LEASE * 2, "{took:?}");
    assert_eq!(undos.tried(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_settles_and_is_taken_over_from_who_let_go_of_it_settles_anew_by_the_other_clock() {
    let memory = MemoryJournal::new();
    leave(&mut memory.clone(), 0..1, "reserve", HOUR);
    let undos = Undos::default();
    let make = || undos.register(Coordinator::with_inline_journal(memory.clone()), Duration::ZERO, Instant::now());
    let one = make().start().await.unwrap();
    sleep(LEASE).await;
    one.drain(LEASE).await.unwrap();
    let _other = make().start().await.unwrap();
    sleep(HOUR + LEASE).await;
    assert_eq!(undos.tried(), 0, "it waited for an hour by a clock that may be an hour ahead");
    sleep(HOUR).await;
    assert_eq!(undos.tried(), 1);
}

#[test]
fn suspects_are_bounded_too_and_all_have_their_trial() {
    let journal = Alone::default();
    leave(&mut journal.clone(), 0..100, "reserve", Duration::ZERO);
    leave(&mut journal.clone(), 100..110, "stuck", Duration::ZERO);
    journal.accuse(4);
    process().block_on(async {
        let (undos, works) = (Undos::default(), Instant::now() + LEASE * 4);
        let builder = undos.register(journal.coordinator(), Duration::from_millis(10), works);
        let _next = builder.config(bound(8)).start().await.unwrap();
        assert_eq!(held(&journal), 8);
        let (took, most) = rest(&journal, 100, Duration::from_millis(5)).await;
        assert!(took < LEASE * 3 && most <= 8 && undos.most.load(SeqCst) == 1, "{took:?}, {most} at once");
        sleep(LEASE).await;
        let acquitted = count(&journal, |row| row.takeovers == 0 && row.owner.is_none() && row.wake_at.is_some());
        assert_eq!(acquitted, 10, "who was tried, and waits, is let go of and not suspected any more");
        rest(&journal, 110, Duration::from_secs(1)).await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_what_was_never_taken_over_and_the_next_one_takes_it_at_once() {
    let memory = MemoryJournal::new();
    leave(&mut memory.clone(), 0..100, "reserve", Duration::ZERO);
    let undos = Undos::default();
    let make = |takes| undos.register(Coordinator::with_inline_journal(memory.clone()), takes, Instant::now());
    let one = make(Duration::from_secs(1)).config(bound(10)).start().await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    assert!(one.drain(LEASE).await.unwrap().in_time);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((undone(&memory), held(&memory)), (10, 0));
    let _next = make(Duration::from_millis(10)).config(bound(10)).start().await.unwrap();
    let (took, most) = rest(&memory, 100, Duration::from_millis(5)).await;
    assert!(took < Duration::from_secs(1) && most <= 10, "{took:?}, {most} at once");
}

#[tokio::test(start_paused = true)]
async fn what_was_let_go_of_to_wait_is_nobodys_until_then() {
    nobodys(Coordinator::with_inline_journal).await;
    nobodys(|memory| Coordinator::with_inline_journal(Alone(memory))).await;
}

async fn nobodys(builder: fn(MemoryJournal) -> CoordinatorBuilder) {
    let memory = MemoryJournal::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    leave(&mut memory.clone(), 0..1, "reserve", Duration::ZERO);
    let wait = Change { let_go: true, wake_at: Some((now + HOUR).as_millis() as u64), ..Change::default() };
    let fence = Fence { saga: id(0), owner: "dead".to_owned(), epoch: 1 };
    memory.clone().write(&[Write::Append { fence, records: vec![], change: wait }]).unwrap();
    let undos = Undos::default();
    let make = |journal| undos.register(journal, Duration::ZERO, Instant::now());
    let _next = make(builder(memory.clone())).start().await.unwrap();
    sleep(HOUR - LEASE).await;
    assert_eq!((undos.tried(), rows(&memory)[0].epoch), (0, 1));
    sleep(LEASE * 2).await;
    assert_eq!((undos.tried(), rows(&memory)[0].state), (1, State::Undone));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_may_take_nothing_over_is_refused() {
    for recover_at_once in [0, 1_000_001] {
        let error = Coordinator::in_memory().config(bound(recover_at_once)).start().await.unwrap_err();
        assert!(error.to_string().contains("recover_at_once"), "{error}");
    }
}
