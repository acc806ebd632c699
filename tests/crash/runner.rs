//! What the standard harness does, as far as it is used: names, filters, a verdict.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::exit,
    time::Duration,
};

use tokio::time::Instant;

/// Runs those of `tests` that the arguments name, or all; ends the process with 101 if one fails.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let (mut filters, mut skipped, mut exact) = (Vec::new(), Vec::new(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => {
                for (name, _) in tests {
                    println!("{name}: test");
                }
                return;
            }
            "--exact" => exact = true,
            "--skip" => skipped.extend(args.next()),
            // Nothing here is ignored.
            "--ignored" => return println!("running 0 tests"),
            "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(args.next()),
            flag if flag.starts_with('-') => {}
            filter => filters.push(filter.to_owned()),
        }
    }
    let matches = |name: &str, filter: &String| if exact { name == filter } else { name.contains(filter.as_str()) };
    let chosen = tests.iter().filter(|(name, _)| {
        (filters.is_empty() || filters.iter().any(|filter| matches(name, filter)))
            && !skipped.iter().any(|filter| matches(name, filter))
    });
    let chosen: Vec<_> = chosen.collect();
    println!("\nrunning {} tests", chosen.len());
    let begun = Instant::now();
    let mut failed = Vec::new();
    for (name, test) in &chosen {
        let begun = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let took = begun.elapsed();
        let took =
            if took > Duration::from_secs(1) { format!(" ({:.1} s)", took.as_secs_f64()) } else { String::new() };
        println!("test {name} ... {}{took}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(*name);
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let passed = chosen.len() - failed.len();
    let out = tests.len() - chosen.len();
    println!(
        "\ntest result: {verdict}. {passed} passed; {} failed; {out} filtered out; finished in {:.2}s\n",
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        println!("failed: {failed:?}");
        exit(101);
    }
}
