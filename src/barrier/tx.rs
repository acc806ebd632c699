//! The transaction as an effect has it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{Database, Transaction};

use super::stop::Stop;

/// The transaction of a [`Barrier`](super::Barrier), lent to the effect.
///
/// It dereferences to the connection, so `&mut *tx` is what sqlx executes on. It is the barrier that commits, or rolls back:
/// there is no way to do either from here, and an effect must not do it by a statement of its own.
pub struct Tx<Db: Database> {
    lent: Option<Transaction<'static, Db>>,
    home: Home<Db>,
}

/// Where a lent transaction comes back to when the [`Tx`] is dropped, or the transaction is rolled back if nobody waits.
struct Home<Db: Database>(Arc<Mutex<Option<Transaction<'static, Db>>>>);

impl<Db: Database> Tx<Db> {
    /// Lends the transaction, and says where it will come back to.
    fn lend(transaction: Transaction<'static, Db>) -> (Self, Home<Db>) {
        let home = Arc::new(Mutex::new(None));
        (Self { lent: Some(transaction), home: Home(home.clone()) }, Home(home))
    }
}

impl<Db: Database> Home<Db> {
    /// The transaction, unless the effect has given it to somebody who still has it.
    fn returned(&self) -> Option<Transaction<'static, Db>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Lends the transaction to the effect and takes it back.
pub(super) async fn lent<Db: Database, T, Fut>(
    tx: Transaction<'static, Db>,
    effect: impl FnOnce(Tx<Db>) -> Fut,
) -> Result<(Transaction<'static, Db>, Result<T, Stop>), Stop>
where
    Fut: Future<Output = Result<T, Stop>>,
{
    let (tx, home) = Tx::lend(tx);
    let answer = effect(tx).await;
    match home.returned() {
        Some(tx) => Ok((tx, answer)),
        None => Err(Stop::failed("the effect gave its transaction away, so it was rolled back")),
    }
}

const LENT: &str = "it is lent until the drop";

impl<Db: Database> Deref for Tx<Db> {
    type Target = Db::Connection;

    fn deref(&self) -> &Db::Connection {
        self.lent.as_ref().expect(LENT)
    }
}

impl<Db: Database> DerefMut for Tx<Db> {
    fn deref_mut(&mut self) -> &mut Db::Connection {
        self.lent.as_mut().expect(LENT)
    }
}

impl<Db: Database> Drop for Tx<Db> {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.lent.take();
    }
}

impl<Db: Database> fmt::Debug for Tx<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}
