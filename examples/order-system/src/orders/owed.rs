//! What an order still owes other services, and the task that works it off.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Orders;

/// The first wait after a duty could not be done, doubled up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How many duties are worked on at once.
const AT_ONCE: usize = 8;

/// Something that must happen because the order was decided. Each may be done twice without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    Refund,
    Release,
    /// The goods are sold.
    Commit,
}

impl Duty {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Release => "release",
            Self::Commit => "commit",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Refund, Self::Release, Self::Commit].into_iter().find(|duty| duty.name() == name)
    }

    /// The part of the order that is undone by it.
    pub(super) fn undoes(self) -> &'static str {
        match self {
            Self::Refund => "payment",
            Self::Release => "reservation",
            Self::Commit => "nothing",
        }
    }
}

impl Orders {
    /// Does the order's duties in the order given, each once, and says which are done.
    /// The others are left to [`work_off`].
    pub(super) async fn fulfil(&self, order: &str, duties: &[Duty]) -> sqlx::Result<Vec<Duty>> {
        let mut done = Vec::with_capacity(duties.len());
        for &duty in duties {
            if self.perform(order, duty).await {
                self.store.fulfilled(order, duty).await?;
                done.push(duty);
            } else {
                self.owing.notify_one();
            }
        }
        Ok(done)
    }

    async fn perform(&self, order: &str, duty: Duty) -> bool {
        let cause = match duty {
            Duty::Refund => self.payments.refund(order).await.err().map(|error| error.reason.name().to_owned()),
            Duty::Release => self.inventory.release(order).await.err().map(|status| status.message().to_owned()),
            Duty::Commit => self.inventory.commit(order).await.err().map(|status| status.message().to_owned()),
        };
        if let Some(cause) = &cause {
            tracing::info!(order, duty = duty.name(), cause, "not done yet");
        }
        cause.is_none()
    }
}

/// Tries what is owed again and again until it is done. Ends when `stop`'s sender is dropped; what
/// is left then stays in the database for the next start.
pub(super) async fn work_off(orders: Arc<Orders>, mut stop: watch::Receiver<()>) {
    loop {
        let wait = match round(&orders).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(%error, "can't read what is owed");
                LAST_WAIT
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = orders.owing.notified() => {}
            _ = stop.changed() => return,
        }
    }
}

/// Tries all that is due, and says how long until more is.
async fn round(orders: &Orders) -> sqlx::Result<Duration> {
    let due = orders.store.due(AT_ONCE * 8).await?;
    stream::iter(due)
        .for_each_concurrent(AT_ONCE, async |owed| {
            let stored = if orders.perform(&owed.order, owed.duty).await {
                orders.store.fulfilled(&owed.order, owed.duty).await
            } else {
                orders.store.postpone(&owed.order, owed.duty, wait_after(owed.attempts)).await
            };
            if let Err(error) = stored {
                tracing::error!(%error, order = owed.order, "can't note what became of a duty");
            }
        })
        .await;
    Ok(orders.store.until_due().await?.unwrap_or(LAST_WAIT).min(LAST_WAIT))
}

fn wait_after(attempts: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << attempts.min(16)).min(LAST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_is_bounded() {
        assert_eq!(wait_after(0), FIRST_WAIT);
        assert_eq!(wait_after(1), FIRST_WAIT * 2);
        assert_eq!(wait_after(u32::MAX), LAST_WAIT);
    }

    #[test]
    fn a_duty_is_known_by_its_name() {
        for duty in [Duty::Refund, Duty::Release, Duty::Commit] {
            assert_eq!(Duty::named(duty.name()), Some(duty));
        }
    }
}
