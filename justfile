# What is done daily. `just` lists it.

# One build serves all recipes, and needs no gigabytes for the next one.
export CARGO_INCREMENTAL := "0"
export CARGO_PROFILE_DEV_DEBUG := "0"

_list:
    @just --list

# Starts the whole shop in one process, on http://127.0.0.1:8088
run:
    cargo run --release

# Format, lints and unit tests: before each commit
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace --lib --bins

# All tests that need no server
test:
    cargo test --workspace

# The book: links, anchors, tables, names of tests
book:
    cargo test -p standalone --test book --test reference

# The gate, or the suites that are named
gate *suites:
    .ci/run {{ suites }}

# The chaos drills, such as: just chaos rolling
chaos *arguments:
    cargo build --release --workspace
    target/release/chaos {{ arguments }}

# The bench, such as: just bench --seconds 5
bench *arguments:
    cargo build --release --workspace
    target/release/bench {{ arguments }}
