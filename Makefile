# `make help` says what each target does, takes and needs.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help check test lint demo bench bench-peers fuzz asan fmt

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

check: ## fast answer while you work: lints and the unit room; under 4 minutes
	@.ci/install build && .ci/lint fmt clippy && .ci/test unit

test: ## installs what is missing; every test room; says first what it costs; ROOMS="unit sim" chooses
	@.ci/test $(ROOMS)

lint: ## format, shell, clippy, features, documentation
	@.ci/lint

demo: ## two nodes move real data and survive cuts; cold 5 minutes, warm 40 seconds
	@.ci/demo

bench: ## micro-benchmarks of the hot path: records, messages; 2 minutes; BASE=REVISION compares two revisions of ours
	@if [ -n "$(BASE)" ]; then .ci/bench-base "$(BASE)" $(ARGS); else .ci/install build && cargo bench --locked -p dwcp-benches; fi

bench-peers: ## beside TLS, ZeroMQ, gRPC, QUIC, scp, rsync and others; cold 25 minutes; ARGS="--only bulk-64k" chooses
	@.ci/bench-peers $(ARGS)

fuzz: ## looks for inputs that break something: 11 targets, MINUTES=20 each; TARGETS="config http" chooses
	@.ci/fuzz $(TARGETS)

asan: ## tests under AddressSanitizer, a build of its own; cold 30 minutes, warm 12; PACKAGES="dwcp-core" chooses
	@.ci/asan $(PACKAGES)

fmt: ## formats all code
	@cargo fmt --all
