//! Everything that could be chosen, one after the other.

/// Makes choices, other ones each time, until all were made.
#[derive(Debug, Clone, Default)]
pub(super) struct Chooser {
    /// What was chosen, out of how many.
    path: Vec<(u8, u8)>,
    at: usize,
}

impl Chooser {
    /// Choices that were made, to be made again.
    pub(super) fn replay(path: &[u8]) -> Self {
        Self { path: path.iter().map(|choice| (*choice, u8::MAX)).collect(), at: 0 }
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

    /// The first choices that weren't made yet, or `None` when all were.
    pub(super) fn next(mut self) -> Option<Self> {
        self.at = 0;
        while let Some((taken, of)) = self.path.last_mut() {
            *taken += 1;
            if taken < of {
                return Some(self);
            }
            self.path.pop();
        }
        None
    }

    pub(super) fn path(&self) -> Vec<u8> {
        self.path[..self.at].iter().map(|(taken, _)| *taken).collect()
    }
}
