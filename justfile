# Parts of `./test` by name, for those who have `just`. `./test` itself needs only Rust and Python 3.

# lists what is here
default:
    @just --list

# format, lints, licences of the dependencies
check:
    ./test --only fmt,clippy,deny

# the inner loop
test:
    ./test --quick

# everything, as continuous integration runs it
test-all:
    .ci/run

# accepts what the snapshot tests see now and writes what is generated; read the difference before you commit it
bless:
    INSTA_UPDATE=always cargo test --workspace --all-targets
    git status --short -- '*.snap' docs/reference

# the Python package: build, linters, types, tests
python:
    ./test --only python

# the seeded simulation alone: `just sim 42` repeats seed 42
sim seed="":
    {{ if seed == "" { "" } else { "STEPWELL_SEED=" + seed } }} cargo test --package stepwell-engine sim
