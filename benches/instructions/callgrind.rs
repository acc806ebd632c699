//! This program, run under callgrind with one candidate.

use std::process::Command;

/// How this program is told to run one candidate, whose name and number of calls follow.
pub(crate) const ONE: &str = "--one";

/// Enough to fill every window before counting begins.
const BEFORE: u64 = 1_000;
const CALLS: u64 = 10_000;

/// The instructions that a call takes, of the ten thousand after the first thousand.
pub(crate) fn per_call(name: &str) -> Result<f64, String> {
    let (before, after) = (count(name, BEFORE)?, count(name, BEFORE + CALLS)?);
    Ok((after.saturating_sub(before)) as f64 / CALLS as f64)
}

fn count(name: &str, calls: u64) -> Result<u64, String> {
    let this = std::env::current_exe().map_err(|error| format!("this program's own path isn't known: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([ONE, name, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind can't be run ({error}): install it, for nothing is counted without"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("valgrind counted nothing of {name:?} ({}):\n{said}", output.status))
}
