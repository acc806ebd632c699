//! What only a file can do: be opened twice, be something else, be damaged.

use rusqlite::Connection;

use super::*;

fn refused(path: &Path) -> String {
    SqliteJournal::open(path).expect_err("it can't be opened").to_string()
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let folder = Folder::new();
    let mut journal = SqliteJournal::open(folder.file()).unwrap();
    one(&mut journal, open(&row(1, "a")));
    drop(journal);
    let mut journal = SqliteJournal::open(folder.file()).unwrap();
    assert!(journal.is_exclusive());
    one(&mut journal, append(fence(1, "a", 1), vec![commit(1)], Change::default()));
    assert_eq!(journal.records(id(1)).unwrap(), [intent(0), commit(1)]);
}

#[test]
fn h19_a_file_that_is_open_is_refused_by_whatever_name() {
    let folder = Folder::new();
    let journal = SqliteJournal::open(folder.file()).unwrap();
    let file = folder.file().canonicalize().unwrap();
    let expected = format!(
        "saga journal: {0} is in use by another coordinator, which holds the lock on {0}.lock; give each its own file",
        file.display()
    );
    assert_eq!(refused(&folder.file()), expected);
    let link = folder.file().with_file_name("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(refused(&link), expected);
    drop(journal);
    SqliteJournal::open(&link).unwrap();
}

/// The other process is this test again, told by the environment to hold the file until its input ends.
#[test]
fn h19_a_file_that_another_process_has_open_is_refused_until_that_is_gone() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    const HOLD: &str = "BUTTRESS_TEST_HOLD_JOURNAL";
    if let Some(path) = std::env::var_os(HOLD) {
        let _journal = SqliteJournal::open(path).unwrap();
        println!("held");
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let folder = Folder::new();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "saga::journal::file::h19_a_file_that_another_process_has_open_is_refused_until_that_is_gone",
        ])
        .arg("--nocapture")
        .env(HOLD, folder.file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let held = BufReader::new(other.stdout.take().unwrap()).lines().any(|line| line.unwrap().ends_with("held"));
    assert!(held, "the other process never had it");
    assert!(refused(&folder.file()).contains("is in use by another coordinator"));
    other.kill().unwrap();
    other.wait().unwrap();
    SqliteJournal::open(folder.file()).unwrap();
}

#[test]
fn what_is_no_journal_is_refused_and_left_as_it_was() {
    let folder = Folder::new();
    std::fs::write(folder.file(), b"Dear diary, this is no database, however long it gets.").unwrap();
    assert!(refused(&folder.file()).ends_with("can't be read: file is not a database"));
    std::fs::remove_file(folder.file()).unwrap();

    Connection::open(folder.file()).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let before = std::fs::read(folder.file()).unwrap();
    let problem = refused(&folder.file());
    let expected = "is a database, but no journal of sagas; name another file, or one that isn't there yet";
    assert!(problem.ends_with(expected), "{problem}");
    assert_eq!(std::fs::read(folder.file()).unwrap(), before);

    assert!(refused(folder.file().parent().unwrap()).ends_with("is a folder; a journal is a file"));
    let missing = folder.file().with_file_name("missing").join("sagas.db");
    assert!(refused(&missing).contains("missing/sagas.db can't be opened: No such file or directory"));
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = Folder::new();
    drop(SqliteJournal::open(folder.file()).unwrap());
    Connection::open(folder.file()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let problem = refused(&folder.file());
    let expected = "has the journal format 99, and this version of buttress knows up to 1; use the version that wrote it, \
                    or a later one";
    assert!(problem.ends_with(expected), "{problem}");
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_where() {
    for (damage, expected) in [
        ("UPDATE journal SET kind = 99 WHERE lsn = 2", "its record at lsn 2 can't be read: 99 is no kind of record"),
        ("DELETE FROM journal WHERE lsn = 1", "its record at lsn 1 can't be read: it isn't there"),
        ("UPDATE journal SET prev = 2 WHERE lsn = 2", "lsn 2 can't be read: the record before it comes after it"),
        ("UPDATE journal SET saga = x'00' WHERE lsn = 1", "lsn 1 can't be read: "),
        ("UPDATE journal SET call = CAST(x'ff' AS TEXT) WHERE lsn = 1", "lsn 1 can't be read: "),
        ("UPDATE journal SET body = NULL WHERE lsn = 1", "the arguments of payments.refund are missing"),
        ("UPDATE journal SET n = -1 WHERE lsn = 1", "lsn 1 can't be read: "),
        ("UPDATE journal SET at = -1 WHERE lsn = 1", "-1 is no time and no epoch"),
        ("UPDATE saga SET epoch = -9", "is no time and no epoch"),
        ("UPDATE saga SET version = -1", "its row can't be read: "),
        ("UPDATE saga SET name = CAST(x'ff' AS TEXT)", "its row can't be read: "),
        ("UPDATE saga SET lsn = 77", "its record at lsn 77 can't be read: it isn't there"),
    ] {
        let folder = Folder::new();
        let mut journal = SqliteJournal::open(folder.file()).unwrap();
        one(&mut journal, open(&row(1, "a")));
        one(&mut journal, append(fence(1, "a", 1), vec![commit(1)], Change::default()));
        Connection::open(folder.file()).unwrap().execute_batch(damage).unwrap();
        let problem = journal.records(id(1)).expect_err(damage).to_string();
        assert!(problem.contains(&id(1).to_string()) && problem.contains(expected), "{damage}: {problem}");
        assert!(journal.needs().is_err(), "{damage}");
        assert!(journal.write(&[claim("b", 9999, ClaimScope::Expired)]).is_err(), "{damage}");
    }
}

#[test]
fn the_log_is_moved_into_the_file_and_does_not_grow_for_ever() {
    let folder = Folder::new();
    let mut options = SqliteOptions::default();
    options.checkpoint_pages = 32;
    let mut journal = SqliteJournal::open_with(folder.file(), options).unwrap();
    let mut reader = journal.reader().unwrap();
    let mut log = folder.file().into_os_string();
    log.push("-wal");
    one(&mut journal, open(&row(1, "a")));
    for seq in 1..300 {
        one(&mut journal, append(fence(1, "a", 1), vec![intent(seq)], Change::default()));
        if seq % 50 == 0 {
            assert_eq!(reader.records(id(1)).unwrap().len() as u32, seq + 1);
        }
    }
    let size = std::fs::metadata(&log).unwrap().len();
    assert!(size < 64 * 8192, "the log holds {size} bytes");
    assert_eq!(reader.records(id(1)).unwrap().len(), 300);
}

#[test]
fn nothing_is_left_of_what_is_forgotten() {
    let folder = Folder::new();
    let mut journal = SqliteJournal::open(folder.file()).unwrap();
    for number in 1..=20 {
        one(&mut journal, open(&row(number, "a")));
        one(&mut journal, append(fence(number, "a", 1), vec![commit(1)], end()));
    }
    assert_eq!(one(&mut journal, Write::Prune { now: 900, limit: 100 }), Written::Pruned(20));
    let connection = Connection::open(folder.file()).unwrap();
    let left = "SELECT (SELECT count(*) FROM saga) + (SELECT count(*) FROM journal)";
    assert_eq!(connection.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn a_write_that_failed_is_the_last_one_and_reading_goes_on() {
    let folder = Folder::new();
    let mut options = SqliteOptions::default();
    options.busy_timeout = std::time::Duration::from_millis(1);
    let mut journal = SqliteJournal::open_with(folder.file(), options).unwrap();
    one(&mut journal, open(&row(1, "a")));
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let problem = journal.write(&[open(&row(2, "a"))]).unwrap_err();
    assert!(problem.to_string().ends_with("can't be written: database is locked"), "{problem}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(journal.write(&[open(&row(3, "a"))]), Err(problem));
    assert_eq!(journal.saga(id(1)).unwrap(), Some(row(1, "a")));
    assert_eq!(journal.reader().unwrap().list(&everything()).unwrap(), [row(1, "a")]);
}
