//! The auditor: reads the services' own databases, writes nothing, and says whether all adds up.

mod sagas;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::time::{Instant, sleep};

pub use self::sagas::Sagas;
use crate::data_dir::DataDir;

/// What the databases say.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Orders ever placed.
    pub orders: i64,
    /// Those that were paid and whose goods are sold.
    pub confirmed: i64,
    /// Those that were undone.
    pub rejected: i64,
    /// Those that were confirmed, and taken back.
    pub cancelled: i64,
    /// Those that are none of these, hold goods, or have a saga that isn't at rest.
    pub stuck: i64,
    /// Those charged or refunded more than once.
    pub double_charges: i64,
    /// What orders' journal says of its sagas.
    pub sagas: Sagas,
    /// What doesn't add up in the money, in words.
    pub money: Vec<String>,
    /// What doesn't add up in the stock, in words.
    pub stock: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Self { stuck, double_charges, sagas, money, stock, .. } = self;
        *stuck == 0 && *double_charges == 0 && sagas.hold() && money.is_empty() && stock.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { orders, confirmed, rejected, cancelled, stuck, double_charges, sagas, money, stock } = self;
        write!(
            f,
            "VERDICT {orders} orders: {confirmed} confirmed, {rejected} rejected, {cancelled} cancelled, {stuck} stuck, \
             {double_charges} double charges; {sagas}; "
        )?;
        f.write_str(match (stock.is_empty(), money.is_empty()) {
            (true, true) => "stock and money balance",
            (true, false) => "stock balances, money does NOT",
            (false, true) => "money balances, stock does NOT",
            (false, false) => "NEITHER stock nor money balances",
        })?;
        for finding in stock.iter().chain(money).chain(&sagas.findings) {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Reads the databases in `data`. Give it a system at rest: what is under way counts as stuck.
///
/// # Errors
///
/// A database isn't there or can't be read.
pub async fn audit(data: &DataDir) -> Result<Verdict, Box<dyn Error + Send + Sync>> {
    let mut books = open(data).await?;
    let verdict = read(&mut books).await?;
    books.close().await?;
    Ok(verdict)
}

/// Waits until nothing is under way, at most `patience`. Whether that came to be is for [`audit`] to say.
pub(crate) async fn wait_for_rest(data: &DataDir, patience: Duration) -> Result<(), Box<dyn Error + Send + Sync>> {
    let until = Instant::now() + patience;
    let mut books = open(data).await?;
    while count(&mut books, STUCK).await? + count(&mut books, sagas::UNFINISHED).await? > 0 && Instant::now() < until {
        sleep(Duration::from_millis(50)).await;
    }
    books.close().await?;
    Ok(())
}

/// One read-only connection that sees all four files.
async fn open(data: &DataDir) -> Result<SqliteConnection, Box<dyn Error + Send + Sync>> {
    let mut books = SqliteConnectOptions::new()
        .filename(data.database("orders"))
        .read_only(true)
        .busy_timeout(Duration::from_secs(5))
        .connect()
        .await?;
    let files =
        [("inventory", data.database("inventory")), ("payments", data.database("payments")), ("sagas", data.journal())];
    for (name, file) in files {
        sqlx::query("ATTACH DATABASE ? AS ?").bind(text(&file)?).bind(name).execute(&mut books).await?;
    }
    Ok(books)
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

/// Orders that are not at their end, in any service. What was refused and has yet to be undone is at its saga.
const STUCK: &str = "
    SELECT COUNT(*) FROM (
        SELECT id FROM purchase WHERE state IN ('pending', 'cancelling')
        UNION SELECT order_id FROM inventory.reservation WHERE state = 'held')";

/// A charge that is booked twice, or given back twice, stands in payments' books twice.
const DOUBLE: &str = "
    SELECT COUNT(DISTINCT order_id) FROM (
        SELECT order_id FROM payments.entry GROUP BY order_id, kind HAVING COUNT(*) > 1)";

/// What payments kept must be what the confirmed orders cost.
const MONEY: &str = "
    SELECT
        (SELECT IFNULL(SUM(CASE kind WHEN 'charge' THEN amount_cents ELSE -amount_cents END), 0) FROM payments.entry),
        (SELECT IFNULL(SUM(total_cents), 0) FROM purchase WHERE state = 'confirmed')";

/// The same order by order, so that two mistakes can't hide each other. Pending orders are stuck already.
const MONEY_BY_ORDER: &str = "
    WITH kept AS (
        SELECT order_id, SUM(CASE kind WHEN 'charge' THEN amount_cents ELSE -amount_cents END) AS cents
        FROM payments.entry GROUP BY order_id)
    SELECT id, IFNULL(cents, 0), IIF(state = 'confirmed', total_cents, 0)
    FROM purchase LEFT JOIN kept ON order_id = id
    WHERE state NOT IN ('pending', 'cancelling') AND IFNULL(cents, 0) <> IIF(state = 'confirmed', total_cents, 0)
    UNION ALL
    SELECT order_id, cents, 0 FROM kept WHERE order_id NOT IN (SELECT id FROM purchase)
    LIMIT 10";

/// What left the shelf must be what was sold or is held.
const STOCK: &str = "
    WITH gone AS (
        SELECT sku, SUM(quantity) AS quantity
        FROM inventory.reservation_line JOIN inventory.reservation USING (order_id)
        WHERE state IN ('held', 'committed') GROUP BY sku)
    SELECT product.sku, initial - on_hand, IFNULL(gone.quantity, 0)
    FROM inventory.product AS product LEFT JOIN gone USING (sku)
    WHERE initial - on_hand <> IFNULL(gone.quantity, 0)
    LIMIT 10";

/// Sold must be exactly what was ordered and confirmed.
const STOCK_BY_ORDER: &str = "
    WITH sold AS (
        SELECT order_id, sku, quantity
        FROM inventory.reservation_line JOIN inventory.reservation USING (order_id) WHERE state = 'committed'),
    bought AS (
        SELECT order_id, sku, quantity
        FROM purchase_line JOIN purchase ON id = order_id WHERE state = 'confirmed')
    SELECT order_id, sku FROM (SELECT * FROM sold EXCEPT SELECT * FROM bought)
    UNION SELECT order_id, sku FROM (SELECT * FROM bought EXCEPT SELECT * FROM sold)
    LIMIT 10";

async fn read(books: &mut SqliteConnection) -> sqlx::Result<Verdict> {
    let mut verdict = Verdict {
        orders: count(books, "SELECT COUNT(*) FROM purchase").await?,
        confirmed: count(books, "SELECT COUNT(*) FROM purchase WHERE state = 'confirmed'").await?,
        rejected: count(books, "SELECT COUNT(*) FROM purchase WHERE state = 'rejected'").await?,
        cancelled: count(books, "SELECT COUNT(*) FROM purchase WHERE state = 'cancelled'").await?,
        stuck: count(books, STUCK).await?,
        double_charges: count(books, DOUBLE).await?,
        sagas: Sagas::read(books).await?,
        ..Verdict::default()
    };
    let (kept, due): (i64, i64) = sqlx::query_as(MONEY).fetch_one(&mut *books).await?;
    if kept != due {
        verdict.money.push(format!("payments kept {kept} cents, the confirmed orders cost {due}"));
    }
    let orders: Vec<(String, i64, i64)> = sqlx::query_as(MONEY_BY_ORDER).fetch_all(&mut *books).await?;
    for (order, kept, due) in orders {
        verdict.money.push(format!("order {order}: payments kept {kept} cents, it cost {due}"));
    }
    let products: Vec<(String, i64, i64)> = sqlx::query_as(STOCK).fetch_all(&mut *books).await?;
    for (sku, gone, taken) in products {
        verdict.stock.push(format!("{sku}: {gone} are gone from the shelf, {taken} were sold or are held"));
    }
    let lines: Vec<(String, String)> = sqlx::query_as(STOCK_BY_ORDER).fetch_all(&mut *books).await?;
    for (order, sku) in lines {
        verdict.stock.push(format!("order {order}: {sku} was not sold as it was ordered"));
    }
    Ok(verdict)
}

async fn count(books: &mut SqliteConnection, query: &'static str) -> sqlx::Result<i64> {
    let (count,): (i64,) = sqlx::query_as(query).fetch_one(books).await?;
    Ok(count)
}
