//! Held to a slow list of the same keys.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU8, AtomicUsize},
    thread,
};

use proptest::{collection::vec, prelude::*};

use super::*;

/// A value whose rank can be set.
#[derive(Debug, Default)]
struct Ranks(AtomicU8);

const RANKS: [Rank; 3] = [Rank::Idle, Rank::Stateful, Rank::InUse];

impl Ranked for Ranks {
    fn rank(&self) -> Rank {
        RANKS[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

impl Ranks {
    fn of(rank: u8) -> Self {
        Self(AtomicU8::new(rank))
    }
}

/// Uses a key; says which had to go for it.
fn use_key(keyed: &Keyed<u32, Ranks>, key: u32, rank: u8) -> Option<u32> {
    let mut gone = None;
    keyed.with(&key, || Ranks::of(rank), |entry| gone = Some(entry.key), |_| ());
    gone
}

fn keys(keyed: &Keyed<u32, Ranks>) -> HashSet<u32> {
    keyed.entries().iter().map(|entry| entry.key).collect()
}

/// Of each key that is there: when it was last used, counted in new keys, and its rank.
#[derive(Default)]
struct Model {
    keys: Vec<(u32, u64, u8)>,
    era: u64,
}

impl Model {
    fn find(&mut self, key: u32) -> Option<&mut (u32, u64, u8)> {
        self.keys.iter_mut().find(|(other, ..)| *other == key)
    }

    fn remove(&mut self, key: u32) -> (u32, u64, u8) {
        let at = self.keys.iter().position(|(other, ..)| *other == key).expect("it was there");
        self.keys.swap_remove(at)
    }

    /// Whether it was there.
    fn use_key(&mut self, key: u32, rank: u8) -> bool {
        let era = self.era;
        match self.find(key) {
            Some(known) => {
                known.1 = era;
                true
            }
            None => {
                self.era += 1;
                self.keys.push((key, self.era, rank));
                false
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Where ranks stay, the order is exact.
    #[test]
    fn the_least_recently_used_of_the_lowest_rank_goes(max in 1..80_usize, uses in vec(0..120_u32, 1..600)) {
        let (keyed, mut model) = (Keyed::<u32, Ranks>::new(max), Model::default());
        for key in uses {
            let rank = (key % 7).min(2) as u8;
            let full = model.keys.len() == max;
            let gone = use_key(&keyed, key, rank);
            if let Some(gone) = gone {
                let (_, used, rank) = model.remove(gone);
                let first = model.keys.iter().map(|(_, used, rank)| (*rank, *used)).min();
                prop_assert!(first.is_none_or(|first| (rank, used) <= first), "{gone} went before its time");
            }
            let known = model.use_key(key, rank);
            prop_assert_eq!(gone.is_some(), full && !known);
            prop_assert_eq!(keyed.len(), model.keys.len());
        }
        prop_assert_eq!(keys(&keyed), model.keys.iter().map(|(key, ..)| *key).collect::<HashSet<_>>());
    }

    /// Where they change, nothing goes before something of a lower rank; and nothing that was used since all were last
    /// looked at, which is a sixteenth of them ago at most, goes before something of its rank that wasn't.
    #[test]
    fn nothing_goes_before_something_of_a_lower_rank(
        max in 1..80_usize,
        steps in vec((0..120_u32, prop::option::weighted(0.3, 0..3_u8)), 1..600),
    ) {
        let (keyed, mut model) = (Keyed::<u32, Ranks>::new(max), Model::default());
        for (key, rank) in steps {
            if let (Some(rank), Some(known)) = (rank, model.find(key)) {
                known.2 = rank;
                keyed.peek(&key).expect("it is there").value.0.store(rank, Ordering::Relaxed);
                continue;
            }
            if let Some(gone) = use_key(&keyed, key, 0) {
                let (_, used, rank) = model.remove(gone);
                prop_assert!(model.keys.iter().all(|(.., other)| rank <= *other), "{gone} of rank {rank} went");
                // Of those of its rank now, at most the ones that a look missed are older.
                let older = model.keys.iter().filter(|other| other.2 == rank && other.1 < used).count();
                prop_assert!(older == 0 || max >= 32, "{older} are older than {gone}");
            }
            model.use_key(key, 0);
            prop_assert!(keyed.len() <= max);
        }
    }
}

#[test]
fn to_look_is_not_to_use() {
    let keyed = Keyed::new(2);
    for key in 0..2 {
        use_key(&keyed, key, 0);
    }
    assert!(keyed.peek(&0).is_some() && keyed.peek(&7).is_none());
    assert_eq!(use_key(&keyed, 2, 0), Some(0));
    assert_eq!((keyed.forgotten(), keyed.len()), (1, 2));
}

#[test]
fn fewer_keys_can_be_kept_from_now_on_and_one_can_be_forgotten() {
    let keyed = Keyed::new(100);
    for key in 0..100 {
        use_key(&keyed, key, u8::from(key < 5));
    }
    let gone: HashSet<_> = keyed.set_max_keys(10).iter().map(|entry| entry.key).collect();
    assert_eq!(gone, (5..95).collect(), "the least recently used that are idle");
    assert_eq!(use_key(&keyed, 100, 0), Some(95));
    assert_eq!(keyed.remove(&3).map(|entry| entry.key), Some(3));
    assert!(keyed.remove(&3).is_none() && keyed.peek(&3).is_none());
    assert_eq!(use_key(&keyed, 101, 0), None, "its place is free");
    assert_eq!(keys(&keyed), HashSet::from([0, 1, 2, 4, 96, 97, 98, 99, 100, 101]));
}

/// A value that can't go while it is in use, and can't be used any more once it has gone.
#[derive(Debug, Default)]
struct Stays(AtomicU8);

const IDLE: u8 = 0;
const USED: u8 = 1;
const GONE: u8 = 2;

impl Stays {
    fn turn(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Ranked for Stays {
    fn rank(&self) -> Rank {
        if self.0.load(Ordering::Relaxed) == USED { Rank::InUse } else { Rank::Idle }
    }

    fn let_go(&self) -> bool {
        self.turn(IDLE, GONE)
    }
}

/// Begins to use a key, if there is room for it.
fn begin(keyed: &Keyed<u32, Stays>, key: u32) -> Option<bool> {
    keyed.try_with(&key, Stays::default, |_| (), |value| value.turn(IDLE, USED))
}

fn end(keyed: &Keyed<u32, Stays>, key: u32) {
    assert!(keyed.peek(&key).expect("it stays").value.turn(USED, IDLE));
}

#[test]
fn what_refuses_to_go_stays_and_where_nothing_goes_there_is_no_room() {
    let keyed = Keyed::new(3);
    (0..3).for_each(|key| assert_eq!(begin(&keyed, key), Some(true)));
    assert_eq!(begin(&keyed, 3), None);
    assert_eq!((keyed.len(), keyed.forgotten()), (3, 0));
    end(&keyed, 1);
    assert_eq!(begin(&keyed, 3), Some(true));
    assert_eq!(keyed.entries().iter().map(|entry| entry.key).collect::<HashSet<_>>(), HashSet::from([0, 2, 3]));

    assert!(keyed.set_max_keys(1).is_empty(), "none can go");
    assert_eq!((begin(&keyed, 4), keyed.len()), (None, 3));
    end(&keyed, 0);
    end(&keyed, 2);
    assert_eq!((begin(&keyed, 4), keyed.len()), (None, 1), "those that are too many go with the next new key");
    end(&keyed, 3);
    assert_eq!((begin(&keyed, 4), keyed.len(), keyed.forgotten()), (Some(true), 1, 4));
}

#[test]
fn one_that_goes_is_never_in_use_whoever_races() {
    const KEYS: u32 = 12;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let keyed = Keyed::new(4);
    let inside: [AtomicUsize; KEYS as usize] = Default::default();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (keyed, inside) = (&keyed, &inside);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ thread);
                for _ in 0..20_000 {
                    let key = random.u32(0..KEYS);
                    if begin(keyed, key) == Some(true) {
                        let before = inside[key as usize].fetch_add(1, Ordering::SeqCst);
                        assert_eq!(before, 0, "somebody uses another value of this key");
                        inside[key as usize].fetch_sub(1, Ordering::SeqCst);
                        end(keyed, key);
                    }
                    assert!(keyed.len() <= 4);
                }
            });
        }
    });
    assert!(keyed.forgotten() > 100, "{}", keyed.forgotten());
}

#[test]
fn there_are_never_more_than_so_many_whoever_races() {
    const MAX: usize = 64;
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static ALIVE: AtomicUsize = AtomicUsize::new(0);

    struct Counted(u32);
    impl Counted {
        fn new(key: u32) -> Self {
            MADE.fetch_add(1, Ordering::Relaxed);
            ALIVE.fetch_add(1, Ordering::Relaxed);
            Self(key)
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    impl Ranked for Counted {
        fn rank(&self) -> Rank {
            Rank::Idle
        }
    }

    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let keyed = Keyed::new(MAX);
    thread::scope(|scope| {
        for thread in 0..4 {
            let keyed = &keyed;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ thread);
                for _ in 0..20_000 {
                    let key = random.u32(0..100);
                    let found = keyed.with(&key, || Counted::new(key), |_| (), |value| value.0);
                    assert_eq!(found, key, "the value of another key");
                    assert!(keyed.len() <= MAX);
                }
            });
        }
    });
    assert_eq!(keyed.len(), MAX);
    assert_eq!(MADE.load(Ordering::Relaxed) as u64, MAX as u64 + keyed.forgotten(), "a key was made twice");
    let in_shards: usize = keyed.shards.iter().map(|shard| shard.load().len()).sum();
    assert_eq!(in_shards, MAX);
    drop(keyed);
    assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
}

#[test]
fn a_key_whose_copy_panics_leaves_everything_as_it_was() {
    #[derive(PartialEq, Eq, Hash)]
    struct Brittle(u32);
    impl Clone for Brittle {
        fn clone(&self) -> Self {
            assert!(self.0 < 2, "brittle");
            Self(self.0)
        }
    }
    let keyed = Keyed::new(2);
    let use_key = |key| keyed.with(&Brittle(key), Ranks::default, |_| (), |_| ());
    use_key(0);
    use_key(1);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| use_key(2))).is_err());
    assert_eq!(keyed.len(), 2);
    assert!([0, 1].iter().all(|key| keyed.peek(&Brittle(*key)).is_some()));
}

#[test]
fn a_number_of_keys_outside_its_range_is_refused() {
    assert!(check_max_keys("circuit_breaker.max_keys", DEFAULT_MAX_KEYS).is_ok());
    let error = check_max_keys("circuit_breaker.max_keys", 0).unwrap_err();
    assert_eq!(error.to_string(), "invalid setting circuit_breaker.max_keys: 0 is not from 1 to 65536");
    assert!(check_max_keys("circuit_breaker.max_keys", 65_537).is_err());
}
