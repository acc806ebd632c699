//! What every contender is driven by: so many sagas in flight, and what was counted while they were.
//!
//! A contender is a program: `<program> <folder> <in flight> <seconds> [<variant>]`, which prints one line of figures.

use std::{
    env, fs,
    future::Future,
    panic,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Before counting, each lane has finished a saga; and a window holds at least two sagas a lane.
const AT_LEAST: usize = 2;
/// Nobody is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether it is time to start counting, or to stop.
const LOOK: Duration = Duration::from_millis(5);

/// What a contender is asked to do.
pub struct Task {
    /// An empty folder of its own.
    pub folder: PathBuf,
    /// A server it may use, where the variant is one that needs it.
    pub database: String,
    /// Which of its variants, if it has several.
    pub variant: String,
    in_flight: usize,
    window: Duration,
}

/// Runs `contender` on a runtime of two workers, and ends the process when it has been measured.
pub fn main<F: Future<Output = ()>>(contender: impl FnOnce(Task) -> F) {
    // A lane that stopped would go unnoticed, and make the others look faster.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |why| {
        report(why);
        process::exit(101);
    }));
    let words: Vec<String> = env::args().skip(1).collect();
    let [folder, in_flight, seconds, variant] = words.as_slice() else {
        panic!("usage: <folder> <in flight> <seconds> <variant>");
    };
    let task = Task {
        folder: folder.into(),
        database: env::var("DATABASE").unwrap_or_default(),
        variant: variant.clone(),
        in_flight: in_flight.parse().expect("a number of sagas"),
        window: Duration::from_secs_f64(seconds.parse().expect("a number of seconds")),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(contender(task));
    // Nobody is interested in what is still in flight.
    process::exit(0);
}

impl Task {
    /// Keeps as many sagas in flight as were asked for, and prints what that came to.
    pub async fn measure<F>(&self, saga: impl Fn(String) -> F + Clone + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lanes =
            Arc::new(Lanes { finished: AtomicUsize::new(0), counting: AtomicBool::new(false), took: Mutex::default() });
        for lane in 0..self.in_flight {
            let (lanes, saga) = (lanes.clone(), saga.clone());
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let begun = Instant::now();
                    saga(format!("{lane}-{number}")).await;
                    lanes.finished(begun.elapsed());
                }
            });
        }
        lanes.until(Duration::from_secs(1), self.in_flight).await;
        let (begun, syncs) = (Instant::now(), syncs());
        lanes.counting.store(true, Ordering::SeqCst);
        lanes.until(self.window, AT_LEAST * self.in_flight).await;
        lanes.counting.store(false, Ordering::SeqCst);
        let (window, syncs) = (begun.elapsed(), self::syncs() - syncs);

        let mut took = std::mem::take(&mut *lanes.took.lock().unwrap_or_else(PoisonError::into_inner));
        assert!(!took.is_empty(), "not one saga ended in {window:?}");
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
        let rate = took.len() as f64 / window.as_secs_f64();
        println!("{rate:.3},{:.4},{:.3},{:.3},{}", syncs as f64 / took.len() as f64, at(0.5), at(0.99), took.len());
    }
}

struct Lanes {
    finished: AtomicUsize,
    counting: AtomicBool,
    took: Mutex<Vec<Duration>>,
}

impl Lanes {
    fn finished(&self, took: Duration) {
        self.finished.fetch_add(1, Ordering::SeqCst);
        if self.counting.load(Ordering::SeqCst) {
            self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    }

    /// Waits for `window` and for so many sagas more.
    async fn until(&self, window: Duration, sagas: usize) {
        let (begun, before) = (Instant::now(), self.finished.load(Ordering::SeqCst));
        while begun.elapsed() < window
            || (self.finished.load(Ordering::SeqCst) < before + sagas && begun.elapsed() < PATIENCE)
        {
            sleep(LOOK).await;
        }
    }
}

/// How often the contender and its database have called `fsync` or `fdatasync`, as the shim counts them.
fn syncs() -> u64 {
    let path = env::var_os("SYNCS").expect("SYNCS: where fsyncs are counted");
    let counted = fs::read(path).expect("the count of fsyncs");
    u64::from_ne_bytes(counted[..8].try_into().expect("eight bytes"))
}
