//! What orders' journal says, and whether it says the same as the books.

use std::fmt;

use sqlx::SqliteConnection;

use super::count;

/// How the sagas ended, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Sagas {
    /// All that the journal knows; it forgets those at rest after a day.
    pub all: i64,
    /// Those that committed, and all that was promised with it was done.
    pub committed: i64,
    /// Those that were undone.
    pub undone: i64,
    /// Those in which something can't be done however often it is tried.
    pub parked: i64,
    /// Those that are under way, or were given up.
    pub unfinished: i64,
    /// What doesn't add up, in words.
    pub findings: Vec<String>,
}

impl Sagas {
    pub(super) fn hold(&self) -> bool {
        self.parked == 0 && self.unfinished == 0 && self.findings.is_empty()
    }

    pub(super) async fn read(books: &mut SqliteConnection) -> sqlx::Result<Self> {
        let mut sagas = Self {
            all: count(books, "SELECT COUNT(*) FROM sagas.saga").await?,
            committed: count(books, "SELECT COUNT(*) FROM sagas.saga WHERE state = 3").await?,
            undone: count(books, "SELECT COUNT(*) FROM sagas.saga WHERE state = 4").await?,
            parked: count(books, "SELECT COUNT(*) FROM sagas.saga WHERE state = 5").await?,
            unfinished: count(books, "SELECT COUNT(*) FROM sagas.saga WHERE state IN (0, 1, 2, 6)").await?,
            findings: Vec::new(),
        };
        for (query, finding) in CHECKS {
            let found: Vec<(String,)> = sqlx::query_as(query).fetch_all(&mut *books).await?;
            sagas.findings.extend(found.into_iter().map(|(which,)| format!("{which}: {finding}")));
        }
        Ok(sagas)
    }
}

impl fmt::Display for Sagas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, committed, undone, parked, unfinished, findings } = self;
        write!(f, "{all} sagas: {committed} committed, {undone} undone, {parked} parked, {unfinished} unfinished")?;
        if findings.is_empty() { Ok(()) } else { f.write_str(", and they do NOT agree with the orders") }
    }
}

/// Under way, so that there is something to wait for.
pub(super) const UNFINISHED: &str = "SELECT COUNT(*) FROM sagas.saga WHERE state IN (0, 1, 2)";

/// Each gives, by name, what isn't as it should be. An order's id is that of the saga that placed it; what is older than
/// a day the journal may have forgotten.
const CHECKS: [(&str, &str); 7] = [
    (
        "SELECT 'saga ' || lower(hex(id)) FROM sagas.saga
         WHERE state IN (3, 4, 6) AND (owner IS NOT NULL OR lease_until IS NOT NULL OR wake_at IS NOT NULL) LIMIT 10",
        "is at rest, and somebody holds it or it waits",
    ),
    (
        "SELECT 'saga ' || lower(hex(saga)) FROM sagas.journal
         GROUP BY saga HAVING MIN(seq) <> 0 OR MAX(seq) + 1 <> COUNT(*) OR COUNT(DISTINCT seq) <> COUNT(*) LIMIT 10",
        "its journal has gaps",
    ),
    (
        "SELECT 'saga ' || lower(hex(id)) FROM sagas.saga JOIN sagas.journal AS last ON last.lsn = saga.lsn
         WHERE state IN (3, 4, 6) AND last.kind <> 15 LIMIT 10",
        "is at rest, and its journal goes on",
    ),
    (
        "SELECT 'saga ' || lower(hex(later.saga)) FROM sagas.journal AS later
         JOIN sagas.journal AS earlier ON earlier.lsn = later.prev
         WHERE later.epoch < earlier.epoch OR later.seq <> earlier.seq + 1 LIMIT 10",
        "somebody wrote to it who had lost it",
    ),
    (
        "WITH placed AS (SELECT lower(hex(id)) AS id, state FROM sagas.saga WHERE name = 'place-order')
         SELECT 'order ' || purchase.id FROM purchase LEFT JOIN placed ON placed.id = replace(purchase.id, '-', '')
         WHERE purchase.state IN ('confirmed', 'cancelling', 'cancelled') AND IFNULL(placed.state, 3) NOT IN (1, 3, 5)
            OR purchase.state IN ('confirmed', 'cancelling', 'cancelled') AND placed.id IS NULL
               AND created_at_ms > (unixepoch() - 86400) * 1000
         LIMIT 10",
        "is confirmed, and the saga that placed it isn't committed",
    ),
    (
        "WITH placed AS (SELECT lower(hex(id)) AS id, state FROM sagas.saga WHERE name = 'place-order' AND state = 3)
         SELECT 'saga ' || placed.id FROM placed LEFT JOIN purchase ON placed.id = replace(purchase.id, '-', '')
         WHERE IFNULL(purchase.state, 'missing') NOT IN ('confirmed', 'cancelling', 'cancelled') LIMIT 10",
        "is committed, and its order isn't confirmed",
    ),
    (
        "WITH cancelling AS (
             SELECT body ->> '$.order' AS id FROM sagas.journal JOIN sagas.saga ON saga.id = journal.saga
             WHERE saga.name = 'cancel-order' AND saga.state = 3 AND journal.kind = 1)
         SELECT 'order ' || id FROM cancelling GROUP BY id HAVING COUNT(*) > 1
         UNION SELECT 'order ' || id FROM cancelling JOIN purchase USING (id) WHERE state <> 'cancelled'
         LIMIT 10",
        "was cancelled otherwise than once",
    ),
];
