//! The transaction as an effect has it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{Database, Transaction};

/// The transaction of a [`Barrier`](super::Barrier), lent to the effect.
///
/// It dereferences to the connection, so `&mut *tx` is what sqlx executes on. It is the barrier that commits, or rolls back:
/// there is no way to do either from here, and an effect must not do it by a statement of its own.
pub struct Tx<Db: Database> {
    lent: Option<Transaction<'static, Db>>,
    home: Home<Db>,
}

/// Where a lent transaction comes back to when the [`Tx`] is dropped, or the transaction is rolled back if nobody waits.
pub(super) struct Home<Db: Database>(Arc<Mutex<Option<Transaction<'static, Db>>>>);

impl<Db: Database> Tx<Db> {
    /// Lends the transaction, and says where it will come back to.
    pub(super) fn lend(transaction: Transaction<'static, Db>) -> (Self, Home<Db>) {
        let home = Arc::new(Mutex::new(None));
        (Self { lent: Some(transaction), home: Home(home.clone()) }, Home(home))
    }
}

impl<Db: Database> Home<Db> {
    /// The transaction, unless the effect has given it to somebody who still has it.
    pub(super) fn returned(&self) -> Option<Transaction<'static, Db>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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
