//! Settings, handles, events and the registry.

use buttress::{
    bulkhead::BulkheadConfig,
    registry::{self, Policy},
};

use super::*;

#[tokio::test(start_paused = true)]
async fn other_settings_reach_all_keys_and_keep_who_is_inside() {
    let bulkheads = bulkheads(1, 10);
    let _inside = bulkheads.try_acquire(&1).unwrap();
    let mut config = bulkheads.config();
    config.each.max_wait = SECOND;
    bulkheads.reconfigure(config.clone()).unwrap();
    let mut waits = task::spawn(bulkheads.acquire(&1));
    assert_pending!(waits.poll());
    config.each.max_concurrent = 2;
    bulkheads.reconfigure(config.clone()).unwrap();
    assert!(waits.is_woken(), "a higher limit lets in who waits");
    let second = assert_ready_ok!(waits.poll());
    assert_eq!([1, 2].map(|key| fill(&bulkheads, key).len()), [0, 2]);

    config.each.max_concurrent = 1;
    bulkheads.reconfigure(config.clone()).unwrap();
    drop(second);
    assert_eq!([1, 2, 3].map(|key| fill(&bulkheads, key).len()), [0, 1, 1]);
    assert_eq!((bulkheads.config(), bulkheads.get(&3).unwrap().config()), (config.clone(), config.each));
}

#[tokio::test(start_paused = true)]
async fn fewer_keys_go_at_once_and_those_with_calls_when_they_have_none() {
    let bulkheads = bulkheads(1, 10);
    let mut inside: Vec<_> = (0..6).map(|key| bulkheads.try_acquire(&key).unwrap()).collect();
    (6..10).for_each(|key| drop(bulkheads.try_acquire(&key).unwrap()));
    let mut config = bulkheads.config();
    config.max_keys = 4;
    bulkheads.reconfigure(config).unwrap();
    assert_eq!(keys(&bulkheads), (0..6).collect(), "those with calls stay");
    assert_eq!((bulkheads.snapshot().keys, bulkheads.snapshot().max_keys), (6, 4));
    inside.truncate(4);
    assert!(bulkheads.try_acquire(&10).is_err(), "four have calls, and there may be four");
    assert_eq!(keys(&bulkheads), (0..4).collect());
    inside.pop();
    assert!(bulkheads.try_acquire(&10).is_ok());
    assert_eq!((bulkheads.len(), bulkheads.snapshot().forgotten), (4, 7));
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_handle_somebody_holds_is_not_forgotten() {
    let bulkheads = bulkheads(1, 1);
    drop(bulkheads.try_acquire(&1).unwrap());
    let held = bulkheads.get(&1).unwrap();
    assert!(bulkheads.try_acquire(&2).is_err());
    let inside = held.try_acquire().unwrap();
    assert!(bulkheads.try_acquire(&1).is_err(), "it is the same bulkhead");
    drop(held);
    assert!(bulkheads.try_acquire(&2).is_err(), "the permit is out");
    drop(inside);
    assert!(bulkheads.try_acquire(&2).is_ok());
    assert!(bulkheads.get(&1).is_none() && !bulkheads.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_can_not_have_the_new_settings_is_told_of_and_all_others_have_them() {
    let template = BulkheadLayer::new("keys").max_concurrent(100).partition("0", 0.0);
    let bulkheads = template.keyed((|key| *key) as Number).handle();
    drop(bulkheads.try_acquire(&2).unwrap());
    // The permits of partitions that are gone keep their slots.
    let mut inside = Vec::new();
    let error = (1..=300).find_map(|round: u32| {
        let before = bulkheads.config().each.partitions[0].name.to_string();
        inside.push(bulkheads.try_acquire_as(&1, Caller::new().partition(&before)));
        let mut config = bulkheads.config();
        config.each.max_concurrent = 1000;
        config.each.partitions = vec![buttress::bulkhead::Partition::new(round.to_string(), 0.0)];
        bulkheads.reconfigure(config).err()
    });
    assert_eq!(error.expect("too many").setting(), "bulkhead.partitions");
    let names = |key| bulkheads.get(&key).unwrap().config().partitions[0].name.to_string();
    let template = bulkheads.config().each.partitions[0].name.to_string();
    assert_eq!((names(2), names(1) == template), (template, false));
    inside.clear();
    bulkheads.reconfigure(bulkheads.config()).unwrap();
    assert_eq!(names(1), names(2));
}

#[test]
fn pausing_is_refused_with_the_reason() {
    let why = "invalid setting bulkhead.when_full: Pause can't be had for each key, because readiness is asked for before \
               the key is known; use Reject";
    let layer = BulkheadLayer::new("pauses").when_full(WhenFull::Pause);
    let panic = std::panic::catch_unwind(|| layer.keyed(|key: &u32| *key)).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), why);

    let mut config = KeyedBulkheadConfig::default();
    config.each.when_full = WhenFull::Pause;
    let error = KeyedBulkhead::<u32>::with_config("pauses", config.clone()).unwrap_err();
    assert_eq!(error.to_string(), why);
    let bulkheads = bulkheads(1, 1);
    assert_eq!(bulkheads.reconfigure(config).unwrap_err().to_string(), why);
    assert_eq!(bulkheads.config().each.when_full, WhenFull::Reject);
}

#[test]
fn a_number_of_keys_out_of_its_range_is_refused() {
    for max_keys in [0, 65_537] {
        let panic = std::panic::catch_unwind(|| layer(1).max_keys(max_keys)).unwrap_err();
        let expected = format!("invalid setting bulkhead.max_keys: {max_keys} is not from 1 to 65536");
        assert_eq!(panic.downcast_ref::<String>().unwrap(), &expected);
    }
}

#[test]
fn events_tell_which_key_it_was() {
    let events = Events::at(LevelFilter::DEBUG);
    let bulkheads = KeyedBulkhead::new("told");
    let mut config = bulkheads.config();
    (config.each.max_concurrent, config.max_keys) = (1, 1);
    bulkheads.reconfigure(config).unwrap();
    assert!(events.take().contains("settings changed for all keys"));
    let inside = bulkheads.try_acquire(&"eu").unwrap();
    assert_eq!(events.take(), "", "a call that came in is no event, and neither is a new key");

    assert!(bulkheads.try_acquire(&"eu").is_err());
    let refused = events.take();
    assert!(refused.trim_start().starts_with("DEBUG"), "{refused}");
    assert!(
        refused.contains(r#"call refused policy="bulkhead" name="told" key="eu" reason="bulkhead_full""#),
        "{refused}"
    );
    assert!(bulkheads.try_acquire(&"us").is_err());
    let crowded = events.take();
    assert!(crowded.contains(r#"no room for another key policy="bulkhead" name="told" key="us""#), "{crowded}");
    drop(inside);
    drop(bulkheads.try_acquire(&"us").unwrap());
    let forgotten = events.take();
    assert!(forgotten.contains(r#"key forgotten to make room for another policy="bulkhead" name="told" key="eu""#));
}

#[tokio::test(start_paused = true)]
async fn the_registry_has_the_keyed_one_and_not_one_for_each_key() {
    let bulkheads = BulkheadLayer::new("listed keys").max_concurrent(1).keyed(|key: &u32| *key).max_keys(10).handle();
    let _inside = bulkheads.try_acquire(&1).unwrap();
    drop(bulkheads.try_acquire(&2).unwrap());
    assert!(bulkheads.try_acquire(&1).is_err());
    let lines: Vec<_> = registry::policies()
        .into_iter()
        .filter(|policy| policy.name().as_str() == "listed keys")
        .map(|policy| Policy::to_string(&policy))
        .collect();
    let line = "bulkhead listed keys: 2 keys of at most 10, 1 inside, 0 waiting, 1 full, 1 refused, 0 forgotten";
    assert_eq!(lines, [line]);

    let found = registry::keyed_bulkhead("listed keys").unwrap();
    let mut each = found.bulkheads();
    each.sort_by(|(one, _), (other, _)| one.cmp(other));
    let inside: Vec<_> = each.iter().map(|(key, bulkhead)| (key.as_str(), bulkhead.snapshot().in_flight)).collect();
    assert_eq!(inside, [("1", 1), ("2", 0)]);
    let config = KeyedBulkheadConfig::default();
    found.reconfigure(config.clone()).unwrap();
    assert_eq!((bulkheads.config(), found.config().each), (config, BulkheadConfig::default()));
    assert_eq!(found.downcast::<u32>().unwrap().len(), 2);
    assert!(found.downcast::<&str>().is_none());
    drop((bulkheads, found));
    assert!(registry::keyed_bulkhead("listed keys").is_none(), "handles and permits of keys keep those alone");
}
