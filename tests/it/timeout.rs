//! The timeout layer, in dialogue.

mod grpc;
mod http;
mod plain;

/// Paused time that doesn't run ahead while a socket is waited for: it moves only when the test advances it.
///
/// tokio holds the paused clock still for as long as a blocking task is running, so one is kept waiting.
struct StoppedClock {
    _release: std::sync::mpsc::Sender<()>,
}

impl StoppedClock {
    fn new() -> Self {
        let (release, released) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || {
            let _: Result<(), _> = released.recv();
        });
        Self { _release: release }
    }
}
