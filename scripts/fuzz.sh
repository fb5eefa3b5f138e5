#!/bin/sh
# Runs every fuzz target for a bounded number of inputs, on the stable toolchain (hence without a sanitizer).
#   FUZZ_RUNS=20000         inputs for each target, its seeds included
#   FUZZ_SECONDS=0          ends a target earlier (0: never)
#   scripts/fuzz.sh sql …   only these targets
# Begins with fuzz/seeds, and with fuzz/corpus, where what covers something new is kept on this machine.
# Ends at the first target that fails; its input is then below fuzz/artifacts.
set -eu
cd "$(dirname "$0")/.."

[ -d fuzz/fuzz_targets ] || { echo "fuzz/fuzz_targets is not there: nothing to fuzz is an error" >&2; exit 1; }
scripts/install-toolchain.sh
command -v c++ > /dev/null || scripts/install-packages.sh build-essential   # libFuzzer is C++
scripts/install-cargo-tool.sh cargo-fuzz 0.13.2

# rustup's cargo may default to another toolchain; a cargo without rustup has only one.
toolchain=
if command -v rustup > /dev/null; then toolchain=+stable; fi

runs=${FUZZ_RUNS:-20000}
[ $# -gt 0 ] || set -- $(basename -a -s .rs fuzz/fuzz_targets/*.rs)
for target in "$@"; do
    echo "== $target"
    corpus=fuzz/corpus/$target seeds=fuzz/seeds/$target
    [ -d "$seeds" ] || { echo "$seeds is not there: a target without seeds finds little" >&2; exit 1; }
    mkdir -p "$corpus"
    # shellcheck disable=SC2086
    cargo $toolchain fuzz run --sanitizer none "$target" "$corpus" "$seeds" -- \
        -runs="$runs" -max_total_time="${FUZZ_SECONDS:-0}" -timeout=20 -verbosity=0 -print_final_stats=0
done
echo "$# fuzz targets passed, $runs inputs each"
