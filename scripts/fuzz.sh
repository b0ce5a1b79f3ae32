#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS (60 by default). A finding ends it with the input's path.
set -eu
cd "$(dirname "$0")/.."
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is missing: cargo install cargo-fuzz (and a nightly toolchain)" >&2
    exit 1
fi
for target in http1:request http1:response config:compile config:bundle config:format config:expression core:routes; do
    crate=${target%%:*} name=${target##*:}
    echo "== $crate/$name"
    (cd "crates/$crate" && cargo +nightly fuzz run "$name" -- -max_total_time="${FUZZ_SECONDS:-60}")
done
