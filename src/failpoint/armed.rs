//! What happens where.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{
        Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// What is done at a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The process dies, as by `kill -9`: nothing is flushed, nothing is dropped. Written `abort`.
    Abort,
    /// Whoever came here stands still until [`release`], or for ever. Written `pause`.
    Pause,
    /// Whoever came here stands still for so long, or until [`release`]. Written `pause:1500`, in milliseconds: of tokio's
    /// clock in a task ([`reach`]), of real time in a thread ([`hit`]).
    PauseFor(Duration),
}

#[derive(Debug, Default)]
struct Point {
    /// What to do, and at which visit, counted from 1.
    armed: Option<(Action, u64)>,
    visits: u64,
    /// How often it was released.
    released: u64,
}

#[derive(Debug, Default)]
struct Points(HashMap<String, Point>);

/// Whether anything was ever armed: where nothing was, a failpoint costs a look at this, also in a benchmark.
static ARMED: LazyLock<AtomicBool> = LazyLock::new(|| AtomicBool::new(!lock().0.is_empty()));
static POINTS: LazyLock<Mutex<Points>> =
    LazyLock::new(|| Mutex::new(super::from_env("BUTTRESS_FAILPOINTS", |text| text.parse())));
/// For those who wait in a thread, and those who wait in a task.
static BLOCKED: Condvar = Condvar::new();
static WAITING: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Arms what `spec` says, in the grammar of `BUTTRESS_FAILPOINTS`: `C3=abort@2;P2=pause`. Visits are counted anew.
///
/// # Panics
///
/// If `spec` can't be read.
#[track_caller]
pub fn arm(spec: &str) {
    let points: Points = spec.parse().unwrap_or_else(|problem| panic!("failpoints {spec:?}: {problem}"));
    lock().0.extend(points.0);
    // Whoever must see it is told of it in a way that orders the two.
    ARMED.store(true, Relaxed);
}

/// Nothing happens at `name` any more. Whoever stands still there goes on.
pub fn disarm(name: &str) {
    if let Some(point) = lock().0.get_mut(name) {
        point.armed = None;
    }
    release(name);
}

/// Lets whoever stands still at `name` go on.
pub fn release(name: &str) {
    if let Some(point) = lock().0.get_mut(name) {
        point.released += 1;
    }
    BLOCKED.notify_all();
    WAITING.notify_waiters();
}

/// How often `name` was reached since it was armed.
pub fn reached(name: &str) -> u64 {
    lock().0.get(name).map_or(0, |point| point.visits)
}

/// The failpoint `name`, on a thread of its own or where nothing may be awaited: a pause stops the thread, and on a
/// runtime of one thread everything else. How long it does is real time, also where tokio's clock is paused.
pub fn hit(name: &str) {
    let Some((patience, released)) = visit(name) else { return };
    let stands_still = |points: &mut Points| points.0.get(name).is_some_and(|point| point.released == released);
    match patience {
        // By the thread's own time: tokio's may be paused, and then nothing moves it while the thread is stopped.
        Some(patience) => drop(BLOCKED.wait_timeout_while(lock(), patience, stands_still)),
        None => drop(BLOCKED.wait_while(lock(), stands_still)),
    }
}

/// The failpoint `name`, in a task: a pause lets other tasks go on.
///
/// # Cancel safety
///
/// Dropped in a pause, the visit has been counted.
pub async fn reach(name: &str) {
    let Some((patience, released)) = visit(name) else { return };
    let is_released = async {
        loop {
            let mut news = std::pin::pin!(WAITING.notified());
            // Before the look, so that a release between the two isn't missed.
            news.as_mut().enable();
            if lock().0.get(name).is_none_or(|point| point.released != released) {
                return;
            }
            news.await;
        }
    };
    match patience {
        Some(patience) => drop(tokio::time::timeout(patience, is_released).await),
        None => is_released.await,
    }
}

/// Counts a visit; how long to stand still, and how often it had been released by then.
fn visit(name: &str) -> Option<(Option<Duration>, u64)> {
    if !ARMED.load(Relaxed) {
        return None;
    }
    let mut points = lock();
    let point = points.0.get_mut(name)?;
    point.visits += 1;
    let (action, at) = point.armed?;
    if point.visits != at {
        return None;
    }
    let patience = match action {
        Action::Abort => {
            eprintln!("failpoint {name}: abort");
            std::process::abort();
        }
        Action::Pause => None,
        Action::PauseFor(patience) => Some(patience),
    };
    eprintln!("failpoint {name}: pause");
    Some((patience, point.released))
}

fn lock() -> MutexGuard<'static, Points> {
    POINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FromStr for Points {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = |part: &str| format!("{part:?} is no failpoint: NAME=abort, =pause or =pause:MS, and @N, is");
        let mut points = HashMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, action) = part.split_once('=').ok_or_else(|| wanted(part))?;
            let (action, at) = action.split_once('@').unwrap_or((action, "1"));
            let action = match action {
                "abort" => Action::Abort,
                "pause" => Action::Pause,
                other => {
                    let millis = other.strip_prefix("pause:").and_then(|millis| millis.parse().ok());
                    Action::PauseFor(millis.map(Duration::from_millis).ok_or_else(|| wanted(part))?)
                }
            };
            let at: u64 = at.parse().ok().filter(|at| *at > 0).ok_or_else(|| wanted(part))?;
            points.insert(name.trim().to_owned(), Point { armed: Some((action, at)), ..Point::default() });
        }
        Ok(Self(points))
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_refused_and_says_what_can() {
        for text in ["C3", "C3=", "C3=die", "C3=abort@", "C3=abort@0", "C3=pause:x", "C3=abort;P2"] {
            let problem = text.parse::<Points>().unwrap_err();
            assert!(problem.contains("NAME=abort"), "{text:?}: {problem}");
        }
        let points: Points = "C3=abort@2; P2=pause:1500;".parse().unwrap();
        assert_eq!(points.0["C3"].armed, Some((Action::Abort, 2)));
        assert_eq!(points.0["P2"].armed, Some((Action::PauseFor(Duration::from_millis(1500)), 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_still_goes_on_when_released_and_only_the_visit_that_was_meant_does() {
        arm("unit-a=pause@2");
        reach("unit-a").await;
        let second = tokio::spawn(reach("unit-a"));
        while reached("unit-a") < 2 {
            tokio::task::yield_now().await;
        }
        reach("unit-a").await;
        assert!(!second.is_finished());
        release("unit-a");
        second.await.unwrap();

        arm("unit-b=pause:50");
        let thread = std::thread::spawn(|| hit("unit-b"));
        while reached("unit-b") < 1 {
            std::thread::yield_now();
        }
        disarm("unit-b");
        thread.join().unwrap();
        hit("unit-b");
        assert_eq!(reached("never-armed"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_stands_still_for_a_while_goes_on_though_tokios_clock_is_paused() {
        arm("unit-c=pause:20; unit-d=pause:60000");
        let (done, is_done) = std::sync::mpsc::channel();
        let watch = std::thread::spawn(move || {
            let in_time = is_done.recv_timeout(Duration::from_secs(10)).is_ok();
            release("unit-c");
            in_time
        });
        hit("unit-c");
        let _ = done.send(());
        assert!(watch.join().unwrap(), "it had to be released");
        // In a task it is tokio's clock that counts, and that runs ahead.
        let began = tokio::time::Instant::now();
        reach("unit-d").await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }
}
