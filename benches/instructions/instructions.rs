//! How many instructions a call through each layer takes, held against what was recorded.
//!
//! Times want a quiet machine, instructions don't: they are counted, by valgrind's callgrind, and come out the same on
//! every machine with the same compiler. Each candidate is run twice, the second time with ten thousand calls more; the
//! difference is what the calls took, whatever starting up did.
//!
//! `cargo bench -p instructions` fails if a layer takes over 5 % more than `benches/instructions.csv` says, and
//! `cargo bench -p instructions -- --record` writes that file anew. With `--features metrics` it only tells what calls take that
//! are counted. What the counts depend on: the compiler and the target
//! (with others nothing is compared), the bench profile (thin LTO, one codegen unit, the target's baseline of a CPU), the
//! versions in `Cargo.lock`, and, where something is allocated, the C library's allocator.

mod callgrind;
mod candidates;
#[cfg(feature = "metrics")]
mod frugal;
mod record;

use std::process::ExitCode;

use candidates::CANDIDATES;
use record::Record;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let outcome = match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [callgrind::ONE, name, calls] => candidates::run(name, calls),
        ["--record"] => record(),
        [] => check(),
        other => Err(format!("{other:?}: nothing, or --record, is what I take")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn counted() -> Result<Record, String> {
    let counts = CANDIDATES.iter().map(|(name, _)| Ok((name.to_string(), callgrind::per_call(name)?)));
    Ok(Record { compiler: record::compiler()?, counts: counts.collect::<Result<_, String>>()? })
}

fn record() -> Result<(), String> {
    let counted = counted()?;
    counted.write()?;
    println!("{counted}");
    Ok(())
}

fn check() -> Result<(), String> {
    let recorded = Record::read()?;
    let compiler = record::compiler()?;
    if recorded.compiler != compiler {
        println!("not compared: recorded with {}, and this is {compiler}; {AGAIN}", recorded.compiler);
        return Ok(());
    }
    let (lines, grown) = record::compare(&recorded, &counted()?);
    lines.iter().for_each(|line| println!("{line}"));
    match grown {
        _ if cfg!(feature = "metrics") => Ok(()),
        0 => Ok(()),
        _ => Err(format!("{grown} grew, or aren't recorded. If that is what it costs: {AGAIN}, and say why")),
    }
}

const AGAIN: &str = "record anew by `cargo bench -p instructions -- --record`";
