//! Depth first through everything that could be chosen.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Makes choices, other ones each time, until all were made.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    /// What was chosen, out of how many.
    path: Vec<(u8, u8)>,
    at: usize,
    /// What everything was like when a choice was to be made: what follows from there was tried, or is being tried.
    seen: HashSet<u64>,
    is_replay: bool,
}

impl Chooser {
    /// The choices of one run, to be made again.
    pub(super) fn replay(path: &[u8]) -> Self {
        let path = path.iter().map(|choice| (*choice, u8::MAX)).collect();
        Self { path, is_replay: true, ..Self::default() }
    }

    /// Whether the choices from here on are new ones.
    pub(super) fn is_on_new_ground(&self) -> bool {
        self.at == self.path.len() && !self.is_replay
    }

    /// Whether everything was as it is now in another run, so that nothing new can follow.
    pub(super) fn has_seen(&mut self, state: impl Hash) -> bool {
        let mut hash = DefaultHasher::new();
        state.hash(&mut hash);
        !self.seen.insert(hash.finish())
    }

    pub(super) fn states(&self) -> usize {
        self.seen.len()
    }

    /// A number below `of`.
    pub(super) fn choose(&mut self, of: usize) -> usize {
        assert!(of > 0, "there is nothing to choose");
        if of == 1 {
            return 0;
        }
        if self.at == self.path.len() {
            self.path.push((0, u8::try_from(of).expect("there are few choices")));
        }
        self.at += 1;
        usize::from(self.path[self.at - 1].0)
    }

    /// Whether there is another run to make.
    pub(super) fn next_run(&mut self) -> bool {
        self.at = 0;
        while let Some((taken, of)) = self.path.last_mut() {
            *taken += 1;
            if taken < of {
                return true;
            }
            self.path.pop();
        }
        false
    }

    pub(super) fn path(&self) -> Vec<u8> {
        self.path[..self.at].iter().map(|(taken, _)| *taken).collect()
    }
}
