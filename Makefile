# What a person does with this repository. Each target installs what it lacks (through apt, or by naming it).

HOWDAH := $(or $(CARGO_TARGET_DIR),target)/release/howdah

.PHONY: help build demo test soak fuzz oracle compat bench bench-quick bench-checks deb micro check deny

help:                ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A gate gives the same answer twice; `make test SEED=…` looks elsewhere.
SEED ?= 20261121

build: toolchain     ## the release binary, target/release/howdah
	cargo build --release --locked

demo: postgresql     ## a throw-away primary, two replicas, howdah in front, and traffic (DEMO_ARGS=--once ends by itself)
	cargo build --release --locked
	exec $(HOWDAH) demo $(DEMO_ARGS)

test: postgresql     ## every test, with PostgreSQL servers that they start themselves (at most 30 minutes, cold, on 2 cores)
	PROPTEST_RNG_SEED=$(SEED) cargo test --locked --all-targets
	cargo test --locked --doc

soak: postgresql     ## the long tests at their full counts
	HOWDAH_SOAK=full cargo test --locked --release --test soak --test freshness -- --nocapture

fuzz:                ## a smoke run of every fuzz target (FUZZ_RUNS=20000)
	scripts/fuzz.sh

oracle:              ## howdah's reading of SQL against PostgreSQL's own scanner (ORACLE_RUNS=100000, ORACLE_SEED=1)
	scripts/oracle.sh

compat: postgresql   ## drivers and other programs from outside, each with its own pinned tools
	bash tests/compat/run.sh

bench: postgresql    ## howdah and its peers side by side (BENCH_ARGS="--rounds 3 --rows simple,idle"); see benches/README.md
	benches/peers/build.sh
	cargo build --release --locked
	scripts/install-packages.sh python3 openssl
	python3 benches/run.py $(BENCH_ARGS)

bench-quick: BENCH_ARGS += --rounds 3 --seconds 2
bench-quick: bench   ## the same with three short rounds

bench-checks: postgresql ## the share of transactions that end with a check, for pgbench, Django and SQLAlchemy
	cargo build --release --locked
	scripts/install-packages.sh python3 python3-venv
	python3 benches/checks.py

deb: toolchain       ## a Debian package with the unit of systemd, target/debian/*.deb
	scripts/install-cargo-tool.sh cargo-deb 3.6.0
	cargo deb --locked

micro: toolchain     ## instructions of each piece of the warm path, counted by valgrind
	scripts/install-packages.sh python3 valgrind
	python3 benches/micro.py

check: deny          ## before a commit: format, lints, layers, licences
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test tidy

deny:                ## licences, banned crates and sources of everything we depend on
	scripts/install-cargo-tool.sh cargo-deny 0.20.2 --no-default-features --debug
	cargo deny --log-level error check --hide-inclusion-graph bans licenses sources

.PHONY: toolchain postgresql
toolchain:
	@scripts/install-toolchain.sh
postgresql: toolchain
	@scripts/install-postgresql.sh
