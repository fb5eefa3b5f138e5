#!/bin/sh
# Compares howdah's lexer, statement boundaries, normal form and reads with PostgreSQL's own scanner and grammar (pg_query)
# and its reads with squawk's parser, over PostgreSQL's regression tests, tests/scripts, and texts changed at random;
# then runs what may run on a replica on a real one. Ends with 1 if they differ, or one is refused.
#   ORACLE_RUNS=100000   changed texts
#   ORACLE_SEED=1        where they begin
#   ORACLE_CORPUS=DIR    .sql files below DIR in the place of those that are fetched
set -eu
cd "$(dirname "$0")/.."

# PostgreSQL's source, by upstream or by Debian (the same archive); libpg_query's copy of the tests lies at PyPI.
sources='
81a81ec695fb0c7901407defaa1d2f7973617154cf27ba74e3a7ab8e64436094 https://ftp.postgresql.org/pub/source/v18.4/postgresql-18.4.tar.bz2
81a81ec695fb0c7901407defaa1d2f7973617154cf27ba74e3a7ab8e64436094 https://deb.debian.org/debian/pool/main/p/postgresql-18/postgresql-18_18.4.orig.tar.bz2
ff9998ec6bac4f30f84db6b6edb28a0fb03b1eda5c8ad211ab8362f5a08b833b https://files.pythonhosted.org/packages/62/b2/fa8b837b58f352e5941ea7a8160121d32bad978a55538232d7890b8aaad5/pglast-8.8.tar.gz
'

fail() { printf 'oracle: %s\n' "$*" >&2; exit 1; }

# Leaves the files at .cache/oracle/corpus, whole or not at all.
fetch() {
    scripts/install-packages.sh curl ca-certificates bzip2
    mkdir -p .cache/oracle
    archive=.cache/oracle/archive
    echo "$sources" | while read -r sum url; do
        [ -n "$sum" ] || continue
        echo "fetching $url" >&2
        curl -sSfL --connect-timeout 10 --max-time 300 -o "$archive" "$url" || continue
        printf '%s  %s\n' "$sum" "$archive" | sha256sum -c --quiet - || continue
        rm -rf .cache/oracle/unpacked
        mkdir .cache/oracle/unpacked
        tar xf "$archive" -C .cache/oracle/unpacked --wildcards '*.sql'
        mv .cache/oracle/unpacked .cache/oracle/corpus
        rm "$archive"
        break
    done
    [ -d .cache/oracle/corpus ] || fail "no source of SQL could be fetched: name a folder of .sql files in ORACLE_CORPUS"
}

scripts/install-toolchain.sh
scripts/install-packages.sh clang libclang-dev   # bindgen, for libpg_query
if [ -z "${ORACLE_CORPUS:-}" ]; then
    [ -d .cache/oracle/corpus ] || fetch
    ORACLE_CORPUS=.cache/oracle/corpus
fi
cargo build --release --manifest-path oracle/Cargo.toml
"${CARGO_TARGET_DIR:-oracle/target}/release/howdah-oracle" "$ORACLE_CORPUS" tests/scripts
# What may run on a replica does, on a real one. A folder of other .sql files is not PostgreSQL's.
[ "$ORACLE_CORPUS" != .cache/oracle/corpus ] ||
    cargo test --locked --test routing_corpus -- --ignored --nocapture
