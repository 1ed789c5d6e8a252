# Tasks of the project; CI runs `scripts/test` and nothing else.

# Shows the tasks.
default:
    @just --list

# A simulated GitHub, a mirror of it, a page to look at.
demo *ARGS:
    cargo run --locked --release -- demo {{ARGS}}

# Everything that CI checks.
test:
    scripts/test

# Formats and lints.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Looks for input that breaks a promise, led by coverage: `just fuzz payload -max_total_time=600`.
fuzz *ARGS:
    scripts/fuzz {{ARGS}}

# Measures; the table says the ratio to a limit of the same run.
bench *ARGS:
    cargo run --locked --release --package gharvest-bench -- {{ARGS}}

# The whole stack of docker-compose.yml as processes on loopback, without containers; Enter stops it.
stack:
    scripts/stack
