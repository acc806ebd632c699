//! Every interleaving of a few threads at one breaker.

use loom::{sync::Arc, thread};

use super::*;

fn core() -> Arc<Core> {
    let mut config = CircuitBreakerConfig::default();
    config.failure_rate = None;
    config.consecutive_failures = Some(2);
    config.half_open_calls = 1;
    Arc::new(Core::new(config, now()).unwrap())
}

fn now() -> Instant {
    thread_local!(static NOW: Instant = Instant::now());
    NOW.with(|now| *now)
}

fn later() -> Instant {
    now() + Duration::from_secs(60)
}

fn fail(core: &Core) -> Option<Change> {
    let ticket = core.admit_if_closed(now)?;
    core.record(ticket, Outcome::FAILURE, None, now, || 0.5)
}

#[test]
fn two_failures_at_once_open_it_once() {
    loom::model(|| {
        let core = core();
        let at = now();
        let other = thread::spawn({
            let core = core.clone();
            move || {
                let ticket = core.admit_if_closed(|| at);
                ticket.and_then(|ticket| core.record(ticket, Outcome::FAILURE, None, || at, || 0.5)).is_some()
            }
        });
        let mine = fail(&core).is_some();
        let other = other.join().unwrap();
        assert!(mine != other, "{mine} {other}");
        assert_eq!(core.state(), State::Open);
    });
}

#[test]
fn the_last_probe_is_given_once_and_a_cancelled_one_again() {
    loom::model(|| {
        let core = core();
        let at = later();
        fail(&core);
        fail(&core);
        let take = move |core: &Core| core.admit(|| at, || 0.5).0;
        let other = thread::spawn({
            let core = core.clone();
            move || take(&core).map(|ticket| core.cancel(ticket)).is_ok()
        });
        let mine = take(&core);
        let other = other.join().unwrap();
        assert!(mine.is_ok() || other);
        match mine {
            Ok(ticket) => {
                assert!(take(&core).is_err(), "a second probe beside the only one");
                assert!(core.cancel(ticket));
            }
            Err(_) => {}
        }
        assert!(take(&core).is_ok(), "the probe was lost");
    });
}

#[test]
fn an_outcome_of_an_earlier_state_reaches_no_later_one() {
    loom::model(|| {
        let core = core();
        let at = now();
        let ticket = core.admit_if_closed(now).unwrap();
        let late = thread::spawn({
            let core = core.clone();
            move || {
                core.record(ticket, Outcome::FAILURE, None, || at, || 0.5);
            }
        });
        core.force(State::ForcedOpen);
        core.force(State::Closed);
        late.join().unwrap();
        assert_eq!(core.tally(at), Tally::default());
        assert!(fail(&core).is_none(), "the late failure was counted in a row with this one");
    });
}

/// A breaker that has just closed after a probe, and ramps for a minute.
fn ramping() -> Arc<Core> {
    let core = core();
    let mut config = core.config();
    config.ramp = Some(Duration::from_secs(60));
    core.reconfigure(config).unwrap();
    fail(&core);
    fail(&core);
    let probe = core.admit(later, || 0.0).0.unwrap();
    core.record(probe, Outcome::Success, None, later, || 0.0);
    assert_eq!(core.ramp_share(later()), Some(0.1));
    core
}

#[test]
fn a_ramp_that_two_find_over_is_over_and_no_outcome_is_lost() {
    loom::model(|| {
        let core = ramping();
        let at = later() + Duration::from_secs(60);
        let admit = move |core: &Core| core.admit(|| at, || 0.99).0.expect("the ramp is over");
        let other = thread::spawn({
            let core = core.clone();
            move || admit(&core)
        });
        let mine = admit(&core);
        // Both count in the same closed state: the row of two opens it, once.
        let opened = [mine, other.join().unwrap()]
            .map(|ticket| core.record(ticket, Outcome::FAILURE, None, || at, || 0.5).is_some());
        assert_eq!(opened, [false, true]);
        assert_eq!(core.state(), State::Open);
    });
}

#[test]
fn the_end_of_a_ramp_undoes_nothing_that_was_done_by_hand() {
    loom::model(|| {
        let core = ramping();
        let at = later() + Duration::from_secs(60);
        let other = thread::spawn({
            let core = core.clone();
            move || drop(core.admit(|| at, || 0.99))
        });
        core.force(State::ForcedOpen);
        other.join().unwrap();
        assert_eq!(core.state(), State::ForcedOpen);
        assert_eq!(core.ramp_share(at), None);
    });
}
