//! Every number, held to what happened.

use std::{collections::BTreeSet, env, fs, path::Path};

use crate::everything;

/// How often everything happens is in `everything`; what has to come of it, in this file, but for what is zero.
///
/// With `BLESS=1` in the environment the file is written, to be looked through.
#[test]
fn every_number_is_how_often_it_happened_and_there_is_no_other() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metrics/numbers.txt");
    let page = &everything::happened().page;
    let mut seen: Vec<_> = page.lines().filter(|line| is_a_number(line)).collect();
    seen.sort_unstable();
    if env::var_os("BLESS").is_some() {
        fs::write(&file, seen.join("\n") + "\n").unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    let (expected, seen): (BTreeSet<_>, BTreeSet<_>) = (expected.lines().collect(), seen.into_iter().collect());
    let missing: Vec<_> = expected.difference(&seen).collect();
    let wrong: Vec<_> = seen.difference(&expected).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "should be: {missing:#?}\nis: {wrong:#?}");
}

/// Of the times, only those that went by paused time: a saga's and a journal's row go by the wall's as well, and a database
/// by none of ours.
fn is_a_number(line: &str) -> bool {
    let by_the_wall = ["buttress_saga_seconds", "buttress_saga_journal_write_seconds", "buttress_barrier_wait_seconds"];
    let is_time = by_the_wall.iter().any(|metric| line.starts_with(&format!("{metric}_sum")));
    // How often leases were renewed meanwhile is of no interest.
    let is_journal = line.contains("policy=\"saga_journal\",name=\"everything\"") && !line.contains("_failed_total");
    line.contains("name=\"everything") && !line.contains("_bucket{") && !line.ends_with(" 0") && !is_time && !is_journal
}
