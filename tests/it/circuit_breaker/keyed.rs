//! A breaker for each key.

use std::{collections::HashSet, thread, time::Duration};

use buttress::{
    BoxError, CircuitBreakerLayer, Rejection,
    circuit_breaker::{
        CircuitBreakerConfig, KeyedCircuitBreaker, KeyedCircuitBreakerConfig, KeyedCircuitBreakerLayer, State,
        WhenOpen, Window,
    },
    registry::{self, Policy},
};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock;
use tracing_subscriber::filter::LevelFilter;

use crate::support::events::Events;

type Number = fn(&u32) -> u32;

fn layer(name: &'static str) -> KeyedCircuitBreakerLayer<u32, Number> {
    CircuitBreakerLayer::new(name).consecutive_failures(2).half_open_successes(1).keyed((|key| *key) as Number)
}

fn breakers(name: &'static str, max_keys: usize) -> KeyedCircuitBreaker<u32> {
    layer(name).max_keys(max_keys).handle()
}

fn open(breakers: &KeyedCircuitBreaker<u32>, key: u32) {
    (0..2).for_each(|_| breakers.try_acquire(&key).unwrap().failure());
}

fn succeed(breakers: &KeyedCircuitBreaker<u32>, key: u32) {
    breakers.try_acquire(&key).unwrap().success();
}

fn keys(breakers: &KeyedCircuitBreaker<u32>) -> HashSet<u32> {
    breakers.keys().into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn one_key_that_fails_closes_the_way_to_no_other() {
    let layer = layer("hosts");
    // Applied anew for each call, as axum does for each connection.
    let call = |key: u32| {
        let answer = async |key: u32| if key == 1 { Err(BoxError::from("down")) } else { Ok(key) };
        layer.layer(service_fn(answer)).oneshot(key)
    };
    for _ in 0..3 {
        assert!(call(1).await.is_err());
        assert_eq!(call(2).await.unwrap(), 2);
    }
    let rejection = Rejection::find(&call(1).await.unwrap_err()).expect("refused").clone();
    assert_eq!((rejection.policy(), rejection.name().as_str()), ("circuit_breaker", "hosts"));
    assert!(rejection.retry_after().is_some());

    let breakers = layer.handle();
    let states = [1, 2, 3].map(|key| breakers.get(&key).map(|breaker| breaker.state()));
    assert_eq!(states, [Some(State::Open), Some(State::Closed), None]);
    assert_eq!(breakers.get(&2).unwrap().snapshot().calls, 3);
    let snapshot = breakers.snapshot();
    assert_eq!((snapshot.keys, snapshot.max_keys, snapshot.closed, snapshot.open), (2, 1024, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_open_one_never_goes_before_a_closed_one_and_one_with_calls_under_way_last_of_all() {
    let breakers = breakers("ranks", 4);
    let under_way = breakers.try_acquire(&0).unwrap();
    open(&breakers, 1);
    succeed(&breakers, 2);
    succeed(&breakers, 3);
    // The least recently used of the closed, again and again.
    for key in 4..100 {
        succeed(&breakers, key);
        assert_eq!(keys(&breakers), HashSet::from([0, 1, key - 1, key]));
    }
    // With all others open, an open one, the least recently used.
    open(&breakers, 98);
    open(&breakers, 99);
    open(&breakers, 100);
    assert_eq!(keys(&breakers), HashSet::from([0, 98, 99, 100]));
    assert_eq!((breakers.snapshot().open, breakers.len()), (3, 4));
    drop(under_way);
    succeed(&breakers, 101);
    assert_eq!(keys(&breakers), HashSet::from([98, 99, 100, 101]));
    assert_eq!(breakers.snapshot().forgotten, 2 + 95 + 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_one_that_nobody_asks_for_any_more_makes_room() {
    let breakers = breakers("gone", 2);
    open(&breakers, 1);
    succeed(&breakers, 2);
    let open_for = breakers.get(&1).unwrap().snapshot().open_for.unwrap();
    advance(open_for + Duration::from_secs(59)).await;
    succeed(&breakers, 3);
    assert_eq!(keys(&breakers), HashSet::from([1, 3]));
    advance(Duration::from_secs(1)).await;
    succeed(&breakers, 4);
    assert_eq!(keys(&breakers), HashSet::from([3, 4]));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_key_is_forgotten_ends_in_peace() {
    let breakers = breakers("forgotten", 1);
    let first = breakers.try_acquire(&1).unwrap();
    let second = breakers.try_acquire(&2).unwrap();
    first.failure();
    drop(second);
    assert!(breakers.get(&1).is_none());
    assert_eq!(breakers.get(&2).unwrap().snapshot().cancelled, 1);
    assert!(breakers.forget(&2) && !breakers.forget(&2) && breakers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_settings_reach_all_keys_and_keep_what_they_counted() {
    let breakers = breakers("settings", 10);
    breakers.try_acquire(&1).unwrap().failure();
    let mut config = breakers.config();
    config.each.consecutive_failures = Some(3);
    breakers.reconfigure(config.clone()).unwrap();
    for key in [1, 2] {
        (0..2).for_each(|_| breakers.try_acquire(&key).unwrap().failure());
    }
    let state = |key| breakers.get(&key).unwrap().state();
    assert_eq!((state(1), state(2)), (State::Open, State::Closed), "one failure from before counts");

    config.max_keys = 1;
    breakers.reconfigure(config.clone()).unwrap();
    assert_eq!((keys(&breakers), breakers.config()), (HashSet::from([1]), config));
}

#[tokio::test(start_paused = true)]
async fn a_seventeenth_window_is_refused_and_one_that_had_its_own_windows_begins_anew() {
    let breakers = breakers("windows", 10);
    succeed(&breakers, 1);
    let mut config = breakers.config();
    for calls in 1..=15 {
        config.each.window = Window::count(calls);
        breakers.reconfigure(config.clone()).unwrap();
        // All but one of these windows are its own.
        let Some(own) = breakers.get(&1) else { continue };
        let mut other = own.config();
        other.window = Window::count(1_000 + calls);
        let _full = own.reconfigure(other);
    }
    assert!(breakers.get(&1).is_none());
    succeed(&breakers, 1);
    assert_eq!(breakers.get(&1).unwrap().config(), config.each);

    config.each.window = Window::count(500);
    let error = breakers.reconfigure(config).unwrap_err();
    assert_eq!(error.setting(), "circuit_breaker.window");
    assert_eq!(breakers.config().each.window, Window::count(15));
}

#[test]
fn a_key_that_is_made_while_settings_change_has_the_last_ones() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let breakers = breakers("racing", 64);
    for round in 1..=20_u32 {
        thread::scope(|scope| {
            for thread in 0..2 {
                let (breakers, runtime) = (&breakers, &runtime);
                scope.spawn(move || {
                    let _entered = runtime.enter();
                    (0..200).for_each(|key| succeed(breakers, key * 2 + thread));
                });
            }
            let mut config = breakers.config();
            config.each.minimum_calls = round;
            breakers.reconfigure(config).unwrap();
        });
        assert_eq!(breakers.len(), 64);
        for key in breakers.keys() {
            assert_eq!(breakers.get(&key).unwrap().config().minimum_calls, round);
        }
    }
}

#[test]
fn pausing_is_refused_with_the_reason() {
    let why = "invalid setting circuit_breaker.when_open: Pause can't be had for each key, because readiness is asked \
               for before the key is known; use Reject";
    let layer = CircuitBreakerLayer::new("pauses").when_open(WhenOpen::Pause);
    let panic = std::panic::catch_unwind(|| layer.keyed(|key: &u32| *key)).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), why);

    let mut config = KeyedCircuitBreakerConfig::default();
    config.each.when_open = WhenOpen::Pause;
    let error = KeyedCircuitBreaker::<u32>::with_config("pauses", config.clone()).unwrap_err();
    assert_eq!(error.to_string(), why);
    let breakers = breakers("pauses", 1);
    assert_eq!(breakers.reconfigure(config).unwrap_err().to_string(), why);
    assert_eq!(breakers.config().each.when_open, WhenOpen::Reject);
}

#[test]
fn a_number_of_keys_out_of_its_range_is_refused() {
    for max_keys in [0, 65_537] {
        let panic = std::panic::catch_unwind(|| layer("range").max_keys(max_keys)).unwrap_err();
        let expected = format!("invalid setting circuit_breaker.max_keys: {max_keys} is not from 1 to 65536");
        assert_eq!(panic.downcast_ref::<String>().unwrap(), &expected);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_the_inner_service_is_whatever_its_keys_are() {
    let layer = layer("ready");
    let breakers = layer.handle();
    open(&breakers, 1);
    let (mut service, mut handle) = mock::spawn_layer::<u32, u32, _>(layer);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let error = task::spawn(service.call(1)).await.unwrap_err();
    assert!(Rejection::find(&error).is_some());
    // What readiness reserved is still there, for a key that isn't refused.
    assert_ready_ok!(service.poll_ready());
    let call = task::spawn(service.call(2));
    assert_eq!(handle.next_request().await.unwrap().0, 2);
    drop(call);
    assert_eq!(breakers.get(&2).unwrap().snapshot().cancelled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_of_a_key_is_given_again() {
    let breakers = breakers("probes", 10);
    open(&breakers, 1);
    advance(Duration::from_secs(5)).await;
    for _ in 0..1_000 {
        drop(breakers.try_acquire(&1).unwrap());
    }
    assert_eq!(breakers.snapshot().half_open, 1);
    succeed(&breakers, 1);
    assert_eq!(breakers.get(&1).unwrap().state(), State::Closed);
}

#[test]
fn changes_and_events_tell_which_key_it_was() {
    let events = Events::at(LevelFilter::DEBUG);
    let breakers = KeyedCircuitBreaker::new("told");
    let mut changes = breakers.subscribe();
    let mut everybodys = registry::watch();
    breakers.try_acquire(&"eu").unwrap().success();
    assert_eq!(events.take(), "", "a call that went well is no event, and neither is a new key");

    breakers.get(&"eu").unwrap().force_open();
    let told = events.take();
    assert!(told.contains(r#"policy="circuit_breaker" name="told" key="eu" from="closed" to="forced_open""#), "{told}");
    assert!(breakers.try_acquire(&"eu").is_err());
    let refused = events.take();
    assert!(refused.contains(r#"name="told" key="eu" reason="circuit_open""#), "{refused}");

    let change = assert_ready_some(&mut changes);
    assert_eq!(change, r#"told["eu"]: Closed -> ForcedOpen (by hand)"#);
    let everybodys = loop {
        let change = assert_ready_some(&mut everybodys);
        if change.starts_with("told[") {
            break change;
        }
    };
    assert_eq!(everybodys, change);

    let mut config = breakers.config();
    config.max_keys = 1;
    breakers.reconfigure(config).unwrap();
    assert!(events.take().contains("settings changed for all keys"));
    breakers.try_acquire(&"us").unwrap().success();
    let forgotten = events.take();
    assert!(forgotten.trim_start().starts_with("DEBUG"), "{forgotten}");
    assert!(forgotten.contains(r#"name="told" key="eu" state="forced_open""#), "{forgotten}");
}

fn assert_ready_some(changes: &mut buttress::circuit_breaker::NamedChanges) -> String {
    let std::task::Poll::Ready(change) = task::spawn(changes.next()).poll() else { panic!("no change was told") };
    change.expect("it is still there").to_string()
}

#[tokio::test(start_paused = true)]
async fn the_registry_has_the_keyed_one_and_not_one_for_each_key() {
    let breakers = breakers("listed", 10);
    open(&breakers, 1);
    succeed(&breakers, 2);
    let listed: Vec<_> = registry::policies().into_iter().filter(|p| p.name().as_str() == "listed").collect();
    let lines: Vec<_> = listed.iter().map(Policy::to_string).collect();
    let line = "circuit_breaker listed: 2 keys of at most 10, 1 open, 0 half-open, 0 opened by hand, 0 forgotten";
    assert_eq!(lines, [line]);

    let found = registry::keyed_circuit_breaker("listed").unwrap();
    for (key, breaker) in found.breakers() {
        if key == "2" {
            breaker.force_open();
        }
    }
    assert_eq!(breakers.snapshot().forced_open, 1);
    let config = KeyedCircuitBreakerConfig::default();
    found.reconfigure(config.clone()).unwrap();
    assert_eq!((breakers.config(), breakers.config().each), (config, CircuitBreakerConfig::default()));
    assert_eq!(found.downcast::<u32>().unwrap().len(), 2);
    assert!(found.downcast::<&str>().is_none());
    drop((breakers, found));
    assert!(registry::keyed_circuit_breaker("listed").is_none() || !listed.is_empty());
    drop(listed);
    assert!(registry::keyed_circuit_breaker("listed").is_none());
}
