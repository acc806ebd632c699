//! What was counted, in a file, and what has become of it since.

use std::{fmt, fs, process::Command};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.csv");
/// By how much a count may grow before it is worth a word.
const TOLERANCE: f64 = 0.05;
const HEADER: &str = "layer,instructions a call";

/// Counts, and what they were counted with.
pub(crate) struct Record {
    pub(crate) compiler: String,
    pub(crate) counts: Vec<(String, f64)>,
}

/// Version and target, as `rustc` tells them.
pub(crate) fn compiler() -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(&rustc).arg("-vV").output().map_err(|error| format!("{rustc} can't be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (line("release:"), line("host:")) {
        (Some(release), Some(host)) => Ok(format!("rustc {release} for {host}")),
        _ => Err(format!("{rustc} -vV says neither release nor host:\n{said}")),
    }
}

/// A line for each, and how many grew or are new.
pub(crate) fn compare(recorded: &Record, counted: &Record) -> (Vec<String>, usize) {
    let mut grown = 0;
    let line = |(name, now): &(String, f64)| {
        let before = recorded.counts.iter().find(|(recorded, _)| recorded == name).map(|(_, before)| *before);
        let growth = before.map(|before| now / before - 1.0);
        let verdict = match growth {
            None => "not recorded",
            Some(growth) if growth > TOLERANCE => "grew",
            Some(growth) if growth < -TOLERANCE => "shrank: worth recording",
            Some(_) => "",
        };
        grown += usize::from(matches!(verdict, "not recorded" | "grew"));
        let by = growth.map(|growth| format!("{:+.1} %", growth * 100.0)).unwrap_or_default();
        format!("  {name:<46}{now:>10.1}{by:>10}  {verdict}")
    };
    let lines = counted.counts.iter().map(line).collect();
    (lines, grown)
}

impl Record {
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE} can't be read: {error}"))?;
        let (comments, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
        let compiler = comments.first().map(|line| line.trim_start_matches(['#', ' ']).to_owned()).unwrap_or_default();
        let rows = lines.into_iter().filter(|line| *line != HEADER && !line.is_empty());
        let counts = rows.map(|line| parse(line).ok_or_else(|| format!("{FILE}: {line:?} isn't \"name\",number")));
        Ok(Self { compiler, counts: counts.collect::<Result<_, _>>()? })
    }

    pub(crate) fn write(&self) -> Result<(), String> {
        fs::write(FILE, self.to_string()).map_err(|error| format!("{FILE} can't be written: {error}"))
    }
}

/// Names have commas in them, and no quotes.
fn parse(line: &str) -> Option<(String, f64)> {
    let (name, count) = line.strip_prefix('"')?.split_once("\",")?;
    Some((name.to_owned(), count.parse().ok()?))
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}\n{HEADER}", self.compiler)?;
        self.counts.iter().try_for_each(|(name, count)| writeln!(f, "\"{name}\",{count:.1}"))
    }
}
