//! What was told, as lines of text.

use std::{
    io, mem,
    sync::{Arc, Mutex},
};

use tracing::{Dispatch, dispatcher::DefaultGuard};
use tracing_subscriber::filter::LevelFilter;

/// Catches the events of this thread for as long as it lives.
pub(crate) struct Events {
    written: Written,
    _default: DefaultGuard,
    _another: Dispatch,
}

impl Events {
    /// Catches what is told at `level` or above.
    pub(crate) fn at(level: LevelFilter) -> Self {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        // As long as there is only one dispatcher, tracing asks the default of whichever thread comes by an event first
        // whether anybody is interested, and keeps the answer for all.
        let _another = Dispatch::new(tracing_subscriber::registry());
        Self { written, _default: tracing::subscriber::set_default(subscriber), _another }
    }

    /// What was told since it was last asked.
    pub(crate) fn take(&self) -> String {
        String::from_utf8(mem::take(&mut *self.written.0.lock().unwrap())).unwrap()
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
