//! What was seen of a run: what the participants did, what the journal says, what clients were told.

use std::{collections::BTreeSet, path::Path, time::Duration};

use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::shop::{Answered, ON_HAND, Order};

/// All of it, at rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) stock_at_first: i64,
    pub(crate) on_hand: i64,
    pub(crate) holds: Vec<Hold>,
    pub(crate) charges: Vec<Charged>,
    /// The sagas whose receipts were sent.
    pub(crate) receipts: Vec<String>,
    /// In the order in which they took effect, participant by participant.
    pub(crate) effects: Vec<Effect>,
    pub(crate) sagas: Vec<SagaSeen>,
    pub(crate) asked: Vec<Asked>,
    /// What those were told who used a key for something else than it had been used for.
    pub(crate) misused: Vec<Told>,
    /// Sagas that may be parked, because somebody refused for ever, or crashed on them each time.
    pub(crate) may_be_parked: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) saga: String,
    pub(crate) items: i64,
    pub(crate) state: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Charged {
    pub(crate) saga: String,
    pub(crate) cents: i64,
    pub(crate) refunds: i64,
}

/// One effect at a participant.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) at_stock: bool,
    pub(crate) saga: String,
    pub(crate) step: String,
    pub(crate) number: u32,
    pub(crate) undo: bool,
    /// As the call said.
    pub(crate) epoch: u64,
    pub(crate) order: String,
    /// In nanoseconds, by the one clock of this machine.
    pub(crate) at: i64,
}

/// A saga, as the journal has it.
#[derive(Debug, Clone)]
pub(crate) struct SagaSeen {
    pub(crate) id: String,
    pub(crate) state: SagaState,
    pub(crate) is_held: bool,
    pub(crate) records: Vec<Rec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SagaState {
    Unfinished,
    Done,
    Undone,
    Parked,
    Abandoned,
}

/// One record of the journal.
#[derive(Debug, Clone)]
pub(crate) struct Rec {
    pub(crate) seq: u32,
    pub(crate) epoch: u64,
    /// The number of the step or call, where it is about one.
    pub(crate) number: u32,
    pub(crate) entry: Entry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Intent { has_undo: bool },
    Done,
    Refused,
    Unknown,
    Then,
    Commit,
    Undo,
    Undone,
    Called,
    Failed,
    Parked,
    Operator,
    Takeover,
    End(SagaState),
    Begun,
}

/// What a client asked for, and what it was told: by all who asked with the same key.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) order: Order,
    pub(crate) answers: Vec<Told>,
    /// Nobody waited for an answer.
    pub(crate) left: bool,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    /// What the handler said, if it was the handler.
    pub(crate) said: Option<Answered>,
}

impl Told {
    pub(crate) fn commits(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A failure that stands: asked again, it would be the same.
    pub(crate) fn is_final_failure(&self) -> bool {
        (400..500).contains(&self.status) && !matches!(self.status, 408 | 409 | 425 | 429)
    }
}

/// Reads what the processes in `dir` have written, whether they run or not.
pub(crate) async fn read(dir: &Path) -> sqlx::Result<History> {
    let (stock, money, journal) =
        (open(dir, "stock.db").await?, open(dir, "money.db").await?, open(dir, "journal.db").await?);
    let mut history = History { stock_at_first: ON_HAND, ..History::default() };
    history.on_hand = sqlx::query("SELECT on_hand FROM stock").fetch_one(&stock).await?.get(0);
    for row in sqlx::query("SELECT saga, items, state FROM holds").fetch_all(&stock).await? {
        history.holds.push(Hold { saga: row.get(0), items: row.get(1), state: row.get(2) });
    }
    for row in sqlx::query("SELECT saga, cents, refunds FROM charges").fetch_all(&money).await? {
        history.charges.push(Charged { saga: row.get(0), cents: row.get(1), refunds: row.get(2) });
    }
    for row in sqlx::query("SELECT saga FROM receipts").fetch_all(&money).await? {
        history.receipts.push(row.get(0));
    }
    for (pool, at_stock) in [(&stock, true), (&money, false)] {
        let effects = "SELECT saga, step, number, op, epoch, ord, at FROM effects ORDER BY id";
        for row in sqlx::query(effects).fetch_all(pool).await? {
            history.effects.push(Effect {
                at_stock,
                saga: row.get(0),
                step: row.get(1),
                number: row.get::<i64, _>(2) as u32,
                undo: row.get::<String, _>(3) == "undo",
                epoch: row.get::<i64, _>(4) as u64,
                order: row.get(5),
                at: row.get(6),
            });
        }
    }
    history.sagas = sagas(&journal).await?;
    for pool in [stock, money, journal] {
        pool.close().await;
    }
    Ok(history)
}

async fn open(dir: &Path, name: &str) -> sqlx::Result<SqlitePool> {
    let options = SqliteConnectOptions::new().filename(dir.join(name)).read_only(true);
    let options = options.busy_timeout(Duration::from_secs(5));
    SqlitePoolOptions::new().max_connections(1).connect_with(options).await
}

/// By the tables, and not by the code that is tested. The numbers are those in every file there is.
async fn sagas(journal: &SqlitePool) -> sqlx::Result<Vec<SagaSeen>> {
    let mut tx = journal.begin().await?;
    let mut sagas = Vec::new();
    let rows = "SELECT id, state, owner IS NOT NULL OR lease_until IS NOT NULL OR wake_at IS NOT NULL FROM saga";
    for row in sqlx::query(rows).fetch_all(&mut *tx).await? {
        let (id, state) = (row.get::<Vec<u8>, _>(0), state(row.get(1)));
        sagas.push(SagaSeen { id: text(&id), state, is_held: row.get(2), records: Vec::new() });
    }
    let by_id = sagas.iter().enumerate().map(|(at, saga)| (saga.id.clone(), at));
    let by_id = by_id.collect::<std::collections::HashMap<_, _>>();
    let records =
        "SELECT saga, seq, epoch, kind, coalesce(n, 0), call IS NOT NULL, coalesce(x, 0) FROM journal ORDER BY lsn";
    for row in sqlx::query(records).fetch_all(&mut *tx).await? {
        let entry = match row.get::<i64, _>(3) {
            2 => Entry::Intent { has_undo: row.get(5) },
            3 => Entry::Done,
            4 => Entry::Refused,
            5 => Entry::Unknown,
            6 => Entry::Then,
            7 => Entry::Commit,
            8 => Entry::Undo,
            9 => Entry::Undone,
            10 => Entry::Called,
            11 => Entry::Failed,
            12 => Entry::Parked,
            13 => Entry::Operator,
            14 => Entry::Takeover,
            15 => Entry::End(state(row.get(6))),
            _ => Entry::Begun,
        };
        let id = text(&row.get::<Vec<u8>, _>(0));
        let at = *by_id.get(&id).unwrap_or_else(|| panic!("records of saga {id}, which has no row"));
        sagas[at].records.push(Rec {
            seq: row.get::<i64, _>(1) as u32,
            epoch: row.get::<i64, _>(2) as u64,
            number: row.get::<i64, _>(4) as u32,
            entry,
        });
    }
    tx.commit().await?;
    Ok(sagas)
}

fn state(number: i64) -> SagaState {
    match number {
        3 => SagaState::Done,
        4 => SagaState::Undone,
        5 => SagaState::Parked,
        6 => SagaState::Abandoned,
        _ => SagaState::Unfinished,
    }
}

/// A saga's id as participants know it.
fn text(id: &[u8]) -> String {
    let id: [u8; 16] = id.try_into().expect("an id is sixteen bytes");
    buttress::step::SagaId::from_bytes(id).to_string()
}

impl History {
    /// What was seen of one saga, as lines.
    pub(crate) fn tell(&self, saga: &str) -> String {
        let mut told = String::new();
        if let Some(seen) = self.sagas.iter().find(|seen| seen.id == saga) {
            told.push_str(&format!("  saga {saga}: {:?}\n", seen.state));
            for Rec { seq, epoch, number, entry } in &seen.records {
                told.push_str(&format!("    {seq:>2} epoch {epoch} #{number} {entry:?}\n"));
            }
        }
        for effect in self.effects.iter().filter(|effect| effect.saga == saga) {
            let Effect { step, number, undo, epoch, order, at, at_stock, .. } = effect;
            let (op, place) = (if *undo { "undo" } else { "act" }, if *at_stock { "stock" } else { "money" });
            told.push_str(&format!("    {place}: {op} #{number} {step} epoch {epoch} {order} at {at}\n"));
        }
        let order = self.effects.iter().find(|effect| effect.saga == saga).map(|effect| &effect.order);
        for asked in self.asked.iter().filter(|asked| Some(&asked.order.id) == order) {
            told.push_str(&format!("    asked {:?}\n", asked.order));
            told.push_str(&asked.answers.iter().map(|told| format!("    told {told:?}\n")).collect::<String>());
        }
        told
    }
}
