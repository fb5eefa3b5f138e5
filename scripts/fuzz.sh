#!/bin/sh
# Runs every fuzz target for a bounded number of inputs, on the stable toolchain (hence without a sanitizer).
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

count=0
for file in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    echo "== $target"
    # shellcheck disable=SC2086
    cargo $toolchain fuzz run --sanitizer none "$target" -- -runs="${FUZZ_RUNS:-20000}" -print_final_stats=0
    count=$((count + 1))
done
echo "$count fuzz targets passed, ${FUZZ_RUNS:-20000} inputs each"
