# The checks are written down in .ci/run, once; `just ci` runs all of them.

_default:
    @just --list --unsorted

# All the checks, as CI runs them
ci *steps:
    .ci/run {{ steps }}

# The formatting
fmt:
    .ci/run fmt

# The lints, as errors
clippy:
    .ci/run clippy

# Unit tests, integration tests, examples, and the code in the documentation
test:
    .ci/run test

# The documentation, its warnings as errors
doc:
    .ci/run doc

# The library with each feature alone
features:
    .ci/run features

# The models of the lock-free parts
loom:
    .ci/run loom

# How many instructions a call takes, against what is recorded; `just instructions --record` writes that anew
instructions *args:
    cargo bench -p instructions -- {{ args }}

# Everything that reads what others send, on nonsense, for so many seconds each
fuzz seconds="60":
    FUZZ_SECONDS={{ seconds }} .ci/run fuzz

# Every crash at every point of sagas larger than `cargo test` has the time for: minutes, optimized
explore:
    cargo test -p buttress --lib --release explore -- --include-ignored --nocapture

# Kills a coordinator and its participants for ten minutes; BUTTRESS_CRASH_SEED repeats the plan of a run
crash seconds="600":
    BUTTRESS_CRASH_SECONDS={{ seconds }} cargo test -p buttress --test crash -- every_kill

# Licences, banned crates and sources (needs cargo-deny)
deny:
    cargo deny check licenses bans sources

# What each layer costs, beside tower's; `just bench timeout` only those with this in their name
bench *names:
    cargo bench -p buttress --bench layers -- {{ names }}

# What the layers do to a service under overload, in virtual time; `just simulate --draw` renews docs/img
simulate *args:
    cargo bench -p simulator --bench simulator -- {{ args }}

# What it costs beside the other crates that do the same; `just bench-peers --csv` for a machine to read
bench-peers *args:
    cargo bench -p peers -- {{ args }}

# The same beside what there is in Java and Go (needs a JDK with Maven, and Go)
bench-languages:
    benches/peers/other-languages.sh

# What sagas and their journal cost on this disk
bench-sagas:
    cargo bench -p buttress --bench journal
    cargo bench -p buttress --bench sagas

# Sagas beside duroxide, durare, dbos and steno, on this disk at one durability (needs cc; PostgreSQL for some)
bench-saga-peers *options:
    CARGO_TARGET_DIR=target/saga-peers cargo run --manifest-path benches/saga-peers/meter/Cargo.toml --release --locked --quiet -- {{ options }}
