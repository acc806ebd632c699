//! What a journal on a disk bears, with `synchronous=FULL`: every figure is of records that would survive a loss of power.
//!
//! `cargo bench -p buttress --bench journal`. The candidates take turns in short rounds, each with a new file, so that
//! whatever else the machine and its disk are doing hits all of them alike; the figure is the median of the rounds.
//! A ratio is worth more than a figure, and a figure says most about the disk: one fsync is the unit.

use std::{
    fs::{self, File},
    future::Future,
    io::Write as _,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use buttress::{
    saga::journal::{
        Change, Entry, Fence, Invocation, Journal, Record, SagaRow, SqliteJournal, State, Write, Writer, Written,
    },
    step::SagaId,
};
use bytes::Bytes;
use tokio::{task::JoinSet, time::Instant};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1200);

type Run = Box<dyn Fn(PathBuf) -> Pin<Box<dyn Future<Output = f64>>>>;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-journal-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the files");
    let folder = folder.canonicalize().expect("the folder");
    let candidates: [(&str, Run); 7] = [
        ("one write and fsync of a file", run(|path| async move { bare_fsync(&path) })),
        ("records, a commit each", run(|path| async move { one_commit_a_record(&path) })),
        ("records, 1 in flight", run(|path| records(path, 1))),
        ("records, 16 in flight", run(|path| records(path, 16))),
        ("records, 256 in flight", run(|path| records(path, 256))),
        ("sagas of 3 steps, 256 in flight, merged", run(|path| sagas(path, 256, merged))),
        ("sagas of 3 steps, 256 in flight, naive", run(|path| sagas(path, 256, naive))),
    ];
    let mut figures = vec![Vec::new(); candidates.len()];
    for round in 0..ROUNDS {
        for (number, (_, run)) in candidates.iter().enumerate() {
            let path = folder.join(format!("{round}-{number}.db"));
            figures[number].push(runtime.block_on(run(path)));
        }
    }
    let _ = fs::remove_dir_all(&folder);
    let medians: Vec<f64> = figures.iter_mut().map(|figures| median(figures)).collect();
    println!("\nA second, the median of {ROUNDS} rounds, on {}\n", file_system(&folder));
    for ((name, _), median) in candidates.iter().zip(&medians) {
        println!("  {name:<44}{median:>10.0}");
    }
    let [_, each, _, _, grouped, merged, naive] = medians[..] else { unreachable!("seven candidates") };
    println!("\n  256 writers in groups, to a commit a record {:>10.1}", grouped / each);
    println!("  a wait a step, to two a step                {:>10.2}\n", merged / naive);
}

fn run<F: Future<Output = f64> + 'static>(run: impl Fn(PathBuf) -> F + 'static) -> Run {
    Box::new(move |path| Box::pin(run(path)))
}

/// The unit of all that follows.
fn bare_fsync(path: &Path) -> f64 {
    let mut file = File::create(path).expect("a file");
    a_second(|| {
        file.write_all(&[7; 4096]).expect("a write");
        file.sync_data().expect("an fsync");
    })
}

/// Without a thread and without anybody in the way: the best that one commit a record can be, however many wait for it.
fn one_commit_a_record(path: &Path) -> f64 {
    let mut journal = SqliteJournal::open(path).expect("a journal");
    let id = SagaId::new();
    journal.write(&[begin(id, 0)]).expect("a saga");
    let mut seq = 0;
    a_second(|| {
        seq += 1;
        let written = journal.write(&[append(id, vec![intent(seq, 0)], Change::default())]);
        assert_eq!(written.expect("a write"), [Written::Ok]);
    })
}

fn a_second(mut once: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut times = 0;
    while began.elapsed() < ROUND {
        once();
        times += 1;
    }
    f64::from(times) / began.elapsed().as_secs_f64()
}

/// So many tasks, each with a saga that it appends to and waits.
async fn records(path: PathBuf, in_flight: usize) -> f64 {
    drive(path, in_flight, |writer, began| async move {
        let id = SagaId::new();
        write(&writer, begin(id, 0)).await;
        let mut seq = 0;
        while began.elapsed() < ROUND {
            seq += 1;
            write(&writer, append(id, vec![intent(seq, 0)], Change::default())).await;
        }
        seq
    })
    .await
}

/// So many tasks, each carrying out saga after saga.
async fn sagas<F: Future<Output = ()> + Send + 'static>(
    path: PathBuf,
    in_flight: usize,
    saga: impl Fn(Writer) -> F + Clone + Send + 'static,
) -> f64 {
    drive(path, in_flight, move |writer, began| {
        let saga = saga.clone();
        async move {
            let mut sagas = 0;
            while began.elapsed() < ROUND {
                saga(writer.clone()).await;
                sagas += 1;
            }
            sagas
        }
    })
    .await
}

async fn drive<F: Future<Output = u32> + Send + 'static>(
    path: PathBuf,
    in_flight: usize,
    task: impl Fn(Writer, Instant) -> F,
) -> f64 {
    let writer = Writer::threaded(SqliteJournal::open(path).expect("a journal")).expect("a writer");
    let began = Instant::now();
    let mut tasks: JoinSet<u32> = (0..in_flight).map(|_| task(writer.clone(), began)).collect();
    let mut times = 0;
    while let Some(done) = tasks.join_next().await {
        times += done.expect("a task");
    }
    let took = began.elapsed();
    writer.close().await;
    f64::from(times) / took.as_secs_f64()
}

/// A result is written with the next step's intent: four waits.
async fn merged(writer: Writer) {
    let id = SagaId::new();
    write(&writer, begin(id, 0)).await;
    write(&writer, append(id, vec![done(1, 0), intent(2, 1)], progress())).await;
    write(&writer, append(id, vec![done(3, 1), intent(4, 2)], progress())).await;
    write(&writer, append(id, vec![done(5, 2), record(6, Entry::Commit), end(7)], ended())).await;
}

/// Each thing is written when it happens: eight waits.
async fn naive(writer: Writer) {
    let id = SagaId::new();
    write(&writer, Write::Open(Box::new(row(id)), vec![])).await;
    for step in 0..3 {
        write(&writer, append(id, vec![intent(2 * step, step)], Change::default())).await;
        write(&writer, append(id, vec![done(2 * step + 1, step)], progress())).await;
    }
    write(&writer, append(id, vec![record(6, Entry::Commit), end(7)], ended())).await;
}

async fn write(writer: &Writer, write: Write) {
    assert_eq!(writer.write(write).await.expect("a write"), Written::Ok);
}

fn begin(id: SagaId, step: u32) -> Write {
    Write::Open(Box::new(row(id)), vec![intent(0, step)])
}

fn row(id: SagaId) -> SagaRow {
    SagaRow {
        id,
        name: "place-order".into(),
        version: 0,
        scope_key: None,
        fingerprint: None,
        exclusive: None,
        state: State::Running,
        owner: Some("bench".into()),
        epoch: 1,
        lease_until: Some(u64::MAX),
        wake_at: None,
        takeovers: 0,
        parent: None,
        deadline: Some(1_700_000_030_000),
        trace: None,
        created_at: 1_700_000_000_000,
        ended_at: None,
        expires_at: None,
        answer: None,
    }
}

fn append(id: SagaId, records: Vec<Record>, change: Change) -> Write {
    Write::Append { fence: Fence { saga: id, owner: "bench".into(), epoch: 1 }, records, change }
}

fn progress() -> Change {
    Change { progress: true, ..Change::default() }
}

fn ended() -> Change {
    let ended = Some((1_700_000_001_000, 1_700_086_400_000));
    Change { state: Some(State::Done), let_go: true, ended, progress: true, ..Change::default() }
}

fn intent(seq: u32, number: u32) -> Record {
    let args = Bytes::from_static(br#"{"charge":"01936f6e-8e5a-7bb5-a4e5-5ea1e2f1c0de/charge/1/act","cents":129900}"#);
    let undo = Some(Invocation { call: "payments.refund".into(), args });
    record(seq, Entry::Intent { number, step: "charge-payment".into(), undo, settle: 0 })
}

fn done(seq: u32, number: u32) -> Record {
    record(seq, Entry::Done { number, output: None })
}

fn end(seq: u32) -> Record {
    record(seq, Entry::End { state: State::Done })
}

fn record(seq: u32, entry: Entry) -> Record {
    Record { seq, at: 1_700_000_000_000, entry }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// In memory an fsync costs nothing, and the figures mean nothing.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    let of = mounts.filter(|(at, _)| folder.starts_with(at)).max_by_key(|(at, _)| at.len());
    of.map_or("an unknown file system".to_owned(), |(_, kind)| kind)
}
