//! Values that go along with what is being polled, so that whoever is called in it finds them.

use std::{cell::Cell, thread::LocalKey};

/// What is there while something runs, by a `thread_local!` with `const { Cell::new(None) }`: it takes neither a check
/// nor a destructor, and so half of what a `task_local!` does.
pub(crate) type Current<T> = LocalKey<Cell<Option<T>>>;

/// Runs `f` with `value` as the current one, and puts back what was there, also after a panic.
#[inline]
pub(crate) fn run<T: Copy + 'static, R>(current: &'static Current<T>, value: T, f: impl FnOnce() -> R) -> R {
    struct Back<T: Copy + 'static>(&'static Current<T>, Option<T>);

    impl<T: Copy> Drop for Back<T> {
        #[inline]
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }

    let _back = Back(current, current.replace(Some(value)));
    f()
}
