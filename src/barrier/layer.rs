//! The tower layer and its service.

use std::{
    fmt,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Request};
use sqlx::Pool;
use tower_layer::Layer;
use tower_service::Service;

use super::{guard::Barrier, meter::Watch, open, store::Store};
use crate::name::Name;

/// Reads which step of which saga a call is made in, and gives the handler its [`Barrier`].
/// See the [module](crate::barrier).
pub struct BarrierLayer<Db: Store> {
    pool: Pool<Db>,
    optional: bool,
    watch: Watch,
}

/// How many sagas one transaction of [`BarrierLayer::prune`] forgets, so that it holds nobody up for long.
const PRUNED_AT_ONCE: i64 = 500;

impl<Db: Store> BarrierLayer<Db> {
    /// For HTTP services, with their database.
    pub fn http(pool: Pool<Db>) -> Self {
        Self { pool, optional: false, watch: Watch::unnamed() }
    }

    /// For gRPC services, with their database: around a tonic service, or `.layer` of a tonic server.
    pub fn grpc(pool: Pool<Db>) -> Self {
        // Headers and metadata are one on the wire, and whoever answers a refusal is the handler.
        Self::http(pool)
    }

    /// What it is called in events and metrics: `payments`. By default `barrier`; worth while where a process has several.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[must_use]
    #[track_caller]
    pub fn named(self, name: impl Into<Name>) -> Self {
        Self { watch: Watch::new(name.into().required()), ..self }
    }

    /// The barrier of a call with these headers, or this metadata: for what isn't called through this layer.
    pub fn barrier(&self, headers: &HeaderMap) -> Barrier<Db> {
        let barrier = Barrier::watched(self.pool.clone(), headers, self.watch.clone());
        if self.optional { barrier.or_plainly() } else { barrier }
    }

    /// Lets calls through that aren't made in a step: [`act`](Barrier::act) is then a transaction and no more. Without this
    /// they are refused with a 400, `INVALID_ARGUMENT`.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Makes the table, if it isn't there: [`create_table`](Self::create_table) on the layer's own database.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn migrate(&self) -> Result<(), sqlx::Error> {
        Self::create_table(&self.pool).await
    }

    /// Makes the table `saga_barrier` and its index, if they aren't there.
    ///
    /// A service that has migrations of its own takes the text of one of the constants [`SQLITE_TABLE`] and
    /// [`POSTGRES_TABLE`] instead.
    ///
    /// [`SQLITE_TABLE`]: super::SQLITE_TABLE
    /// [`POSTGRES_TABLE`]: super::POSTGRES_TABLE
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn create_table(pool: &Pool<Db>) -> Result<(), sqlx::Error> {
        Db::create_table(pool).await
    }

    /// Forgets the sagas of which nothing was heard for so long, and says how many rows that were. In batches, so it holds
    /// nobody up; to be called now and then.
    ///
    /// A step that comes after it was forgotten happens again, so this has to be longer than any coordinator may take to
    /// undo: days rather than hours. Goes by the wall clock.
    ///
    /// # Errors
    ///
    /// The database's. What was forgotten before stays forgotten.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the batch under way is rolled back.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, sqlx::Error> {
        let age = i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX);
        let before = open::millis(SystemTime::now()).saturating_sub(age);
        let mut rows = 0;
        loop {
            let pruned = Db::prune(&self.pool, before, PRUNED_AT_ONCE).await?;
            rows += pruned;
            if pruned == 0 {
                return Ok(rows);
            }
        }
    }
}

impl<Db: Store> Clone for BarrierLayer<Db> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), optional: self.optional, watch: self.watch.clone() }
    }
}

impl<Db: Store> fmt::Debug for BarrierLayer<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierLayer").field("optional", &self.optional).finish_non_exhaustive()
    }
}

impl<S, Db: Store> Layer<S> for BarrierLayer<Db> {
    type Service = BarrierService<S, Db>;

    fn layer(&self, inner: S) -> Self::Service {
        BarrierService { inner, layer: self.clone() }
    }
}

/// Gives each request its [`Barrier`]. Made by [`BarrierLayer`].
///
/// Nothing is reserved in `poll_ready`, so a clone is as good as the original if the inner service's is.
#[derive(Debug)]
pub struct BarrierService<S, Db: Store> {
    inner: S,
    layer: BarrierLayer<Db>,
}

impl<S, Db: Store> BarrierService<S, Db> {
    define_inner_service_accessors!();
}

/// By hand, for a database needn't be `Clone`.
impl<S: Clone, Db: Store> Clone for BarrierService<S, Db> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, B, Db: Store> Service<Request<B>> for BarrierService<S, Db>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let barrier = self.layer.barrier(request.headers());
        request.extensions_mut().insert(barrier);
        self.inner.call(request)
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, Db: Store> tonic::server::NamedService for BarrierService<S, Db> {
    const NAME: &'static str = S::NAME;
}
