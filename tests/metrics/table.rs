//! The tables in docs/metrics.md.

/// The rows of the table whose first column has this title, cell by cell, without the backticks around the first.
pub(crate) fn rows(title: &str) -> Vec<Vec<String>> {
    let mut lines = include_str!("../../docs/metrics.md").lines().map(cells);
    lines.find(|cells| cells.first().is_some_and(|first| first == title)).expect("there is such a table");
    lines.skip(1).take_while(|cells| cells.len() > 1).collect()
}

fn cells(line: &str) -> Vec<String> {
    let Some(line) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else { return Vec::new() };
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What stands in backticks.
pub(crate) fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}
