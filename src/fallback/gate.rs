//! How many fallbacks there are at once.

use crate::sync::{AtomicU32, Ordering};

/// Counts who is inside, and lets nobody in beyond a limit.
///
/// Memory ordering: the count guards nothing but itself, so every access is relaxed; it is looked at and changed in one
/// compare-and-swap.
#[derive(Debug)]
pub(super) struct Gate {
    inside: AtomicU32,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { inside: AtomicU32::new(0) }
    }

    pub(super) fn enter(&self, limit: u32) -> bool {
        let enter = |inside| if inside < limit { Some(inside + 1) } else { None };
        self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok()
    }

    pub(super) fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn inside(&self) -> u32 {
        self.inside.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn there_are_never_more_inside_than_may_be() {
        loom::model(|| {
            let (gate, most) = (Arc::new(Gate::new()), Arc::new(AtomicU32::new(0)));
            let visit = |gate: &Gate, most: &AtomicU32| {
                let entered = gate.enter(1);
                if entered {
                    assert_eq!(most.fetch_add(1, Ordering::Relaxed), 0);
                    most.fetch_sub(1, Ordering::Relaxed);
                    gate.leave();
                }
                entered
            };
            let other = thread::spawn({
                let (gate, most) = (gate.clone(), most.clone());
                move || visit(&gate, &most)
            });
            let entered = visit(&gate, &most);
            assert!(other.join().unwrap() || entered);
            assert_eq!(gate.inside(), 0);
        });
    }
}
