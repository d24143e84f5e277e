# Recipes for daily work. `just` lists them.

# The same settings for all recipes, so that they share builds. Without increments and debug information, builds are small.
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

# Writes docs/openapi.json from the code, and checks it
openapi:
    WRITE_DOCS=1 cargo test --workspace --test openapi the_document_is_the_one_in_the_book
    cargo test --workspace --test openapi

# Checks of the book: links, anchors, tables, names of tests
book:
    cargo test --workspace --test book --test reference --test tables

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
