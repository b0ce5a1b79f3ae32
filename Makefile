# The entry points. `make demo` and `make test` work on a fresh machine that has Rust.
CARGO ?= cargo
BENCH ?= all
SOAK_SECONDS ?= 600
.DEFAULT_GOAL := help

.PHONY: help demo test build pgo setup fmt lint unit soak docs bench bench-failover bench-install microbench sim fuzz

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## Watch a region die and nothing get lost (about a minute, all on loopback)
	$(CARGO) build --release --bin tidegate
	./target/release/tidegate demo $(DEMO_ARGS)

test: setup ## Format, lints, every test
	$(MAKE) --no-print-directory fmt lint unit

build: setup ## The binary for users: target/dist/tidegate (whole-program optimised, some minutes)
	$(CARGO) build --profile dist --bin tidegate

pgo: setup ## The same, optimised by the profile of a training run: a quarter of an hour (`make bench-install` first)
	@CARGO="$(CARGO)" sh scripts/pgo.sh

setup: ## Install a C compiler and cmake if they are missing
	@sh scripts/setup.sh

fmt: ## Check the format
	$(CARGO) fmt --all --check

lint: ## Clippy, warnings denied
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

unit: ## Unit, property, integration tests and the guards
	$(CARGO) test --workspace --locked

soak: setup ## Clients that go away at every moment, for ten minutes; nothing may be left (SOAK_SECONDS=...)
	TIDEGATE_SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked --test tidegate -- --nocapture soak

docs: ## Write the generated references anew
	UPDATE_DOCS=1 $(CARGO) test --workspace --locked --quiet -- reference catalogue docs

bench: pgo ## Compare with nginx, HAProxy and Envoy on this machine (BENCH=all, BENCH_ARGS=...)
	$(CARGO) build --release -p tidegate-bench
	./target/release/tidegate-bench $(BENCH) $(BENCH_ARGS)

bench-failover: build ## A region dies and comes back: Tidegate beside nginx, HAProxy and Envoy (BENCH_ARGS=...)
	$(CARGO) build --release -p tidegate-bench
	./target/release/tidegate-bench failover $(BENCH_ARGS)

bench-install: ## Install what the benchmark compares with
	@sh crates/bench/install.sh target/bench-peers

microbench: setup ## Micro-benchmarks, allocations counted
	$(CARGO) bench -p tidegate-core -p tidegate-http1 -p tidegate-telemetry
	$(CARGO) bench -p tidegate-health --bench checks

sim: setup ## Let regions die, and steer through days and outages, in a virtual world: tables and the pictures of docs/steering.md (TIDEGATE_SIM_SEEDS=...)
	$(CARGO) test --release -p tidegate-core --test simulation -- --ignored --nocapture report
	$(CARGO) test --release -p tidegate-core --test steering -- --ignored --nocapture report

fuzz: ## One minute for each fuzz target (needs cargo-fuzz and a nightly toolchain)
	@sh scripts/fuzz.sh
