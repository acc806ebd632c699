//! Every order in which the threads' steps can fall, within loom's bounds.

use loom::{sync::Arc, thread};

use super::*;

/// What two threads at once take of a bucket of `burst`.
fn two_take(burst: u32, tokens: [u32; 2]) -> (Arc<Meter>, [bool; 2]) {
    let meter = Arc::new(Meter::new(Pace::new(10, burst)));
    let other = thread::spawn({
        let meter = meter.clone();
        move || meter.take(tokens[0], 0).is_ok()
    });
    let mine = meter.take(tokens[1], 0).is_ok();
    (meter, [other.join().unwrap(), mine])
}

#[test]
fn the_last_token_is_taken_once() {
    loom::model(|| {
        let (meter, taken) = two_take(1, [1, 1]);
        assert!(taken[0] != taken[1], "{taken:?}");
        assert_eq!(meter.available(0), 0);
    });
}

#[test]
fn what_fits_is_all_taken() {
    loom::model(|| {
        let (meter, taken) = two_take(5, [2, 3]);
        assert_eq!(taken, [true, true]);
        assert_eq!(meter.available(0), 0);
        assert_eq!(meter.take(1, 0), Err(Short::For(10)));
    });
}

#[test]
fn what_is_taken_while_the_pace_changes_is_missing_at_the_new_price() {
    loom::model(|| {
        let meter = Arc::new(Meter::new(Pace::new(10, 4)));
        let changer = thread::spawn({
            let meter = meter.clone();
            move || meter.change(Pace::new(1_000, 8), 0)
        });
        assert_eq!(meter.take(3, 0), Ok(()));
        changer.join().unwrap();
        // Before the change or after it: three of eight.
        assert_eq!(meter.available(0), 5);
        assert_eq!(meter.wait(6, 0), 1_000);
    });
}

#[test]
fn two_changes_at_once_leave_one_of_the_two_paces() {
    loom::model(|| {
        let meter = Arc::new(Meter::new(Pace::new(10, 4)));
        let changer = thread::spawn({
            let meter = meter.clone();
            move || meter.change(Pace::new(100, 6), 0)
        });
        meter.change(Pace::new(1_000, 8), 0);
        changer.join().unwrap();
        assert!(matches!((meter.available(0), meter.wait(9, 0)), (6, 300) | (8, 1_000)));
    });
}
