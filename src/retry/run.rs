//! The policy without tower.

use std::{
    future::{Future, poll_fn},
    pin::pin,
};

use tokio::time::sleep;

use super::{
    course::Course,
    handle::{GaveUp, Retry},
};
use crate::{
    budget::Cost,
    protocol::cause,
    rejection::Rejection,
    repeat::{Attempt, verdict::Failure},
};

impl Retry {
    /// Runs `operation`, and runs it again while it fails with an error of which `helps` says that another attempt
    /// would help. That it is safe to run it twice is yours to know.
    ///
    /// Waits, attempts, budget and deadline are the policy's, as under a [`RetryLayer`](super::RetryLayer). A
    /// [`Rejection`] is never retried (as far as the error's type is known to this crate: a `BoxError`, an
    /// `io::Error`).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// use std::io;
    /// use buttress::retry::Retry;
    ///
    /// let retry = Retry::new("lookup");
    /// let found = retry
    ///     .run(
    ///         async |attempt| if attempt.is_first() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(42) },
    ///         |error| error.kind() == io::ErrorKind::TimedOut,
    ///     )
    ///     .await;
    /// assert_eq!(found.unwrap(), 42);
    /// assert_eq!(retry.snapshot().recovered, 1);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The last attempt's, which tells of that attempt only: one that was refused unsent may follow one that was not.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops the attempt under way; what was withdrawn for one not yet made goes back to the budget.
    pub async fn run<T, E, F>(
        &self,
        mut operation: impl FnMut(Attempt) -> F,
        helps: impl Fn(&E) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        let mut course = Course::new(self.settings());
        loop {
            let mut attempt = pin!(operation(Attempt::after(course.retries())));
            let error = match poll_fn(|cx| course.run(|| attempt.as_mut().poll(cx))).await {
                Ok(done) => {
                    course.ended(course.attempts());
                    course.succeeded();
                    return Ok(done);
                }
                Err(error) => error,
            };
            let why = if cause::view(&error).and_then(Rejection::find_in).is_some() {
                GaveUp::Refused
            } else if helps(&error) {
                course.failed(true);
                match course.admit(Failure { cost: Cost::Transient, ask: None, sent: true }, None) {
                    Ok(pass) => {
                        sleep(pass.wait).await;
                        course.sent(pass.tokens);
                        continue;
                    }
                    Err(why) => why,
                }
            } else {
                course.ended(course.attempts());
                return Err(error);
            };
            course.gave_up(why);
            course.ended(course.attempts());
            return Err(error);
        }
    }
}
