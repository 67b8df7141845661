# Every target sets up what it needs on a machine that has Python 3.11+, make and git; a second run does not set up again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CODE := subject_pipeline subject_pipeline_tests benchmarks scripts docs

# `make dev` keeps Dagster's history here, and its store in ./data unless SUBJECT_STORE_URL says otherwise.
# `make dev DEMO=1` opens what `make demo` left.
DEV_HOME ?= $(CURDIR)/$(if $(DEMO),.demo/dagster_home,.dagster_home)
dev: export DAGSTER_HOME = $(DEV_HOME)
dev: export SUBJECT_KEY_RING ?= $(DEV_HOME)/key_ring.json
ifdef DEMO
dev: export SUBJECT_STORE_URL = $(CURDIR)/.demo/store
dev: export SUBJECT_KEY_RING = $(CURDIR)/.demo/key_ring.json
endif

# Tests start our command hundreds of times, and their asserts are rewritten: neither is compiled every time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo dev cluster test coverage lint types check check-real real-parts screenshots format reference mutants bench bench-scale bench-soak bench-buckets bench-dagster constraints clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' | column -t -s '|'

setup: $(READY_DEV) ## Install everything into .venv: what runs, the extras, and what develops

# Two steps, so that `make demo` and `make dev` wait neither for the clients of Kubernetes and Celery, nor for agents'
# libraries, nor for test servers.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3 ..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(PIP_INSTALL) --group run -e .
	@touch $@

$(READY_DEV): $(READY)
	$(PIP_INSTALL) --group dev -e '.[postgres,celery,kubernetes,fastmcp,langchain,openai-agents]'
	@touch $@

demo: $(READY) ## Register 100,000 sample people, ingest events, verify, tamper with a copy, and show the result
	$(BIN)/python scripts/demo.py

dev: $(READY) ## Dagster UI and daemon on http://127.0.0.1:3000, with the sample dataset
	@$(BIN)/python scripts/dev.py

# What it writes: logs, Postgres, the key ring where you gave none. It stays where SUBJECT_STORE_URL names a store.
CLUSTER_STATE ?= $(CURDIR)/.cluster
CLUSTER_PROJECT ?= $(CURDIR)
cluster: $(READY_DEV) ## Scale-out on http://127.0.0.1:3000: Redis, Postgres, an S3 server, Dagster, two Celery workers
	@$(BIN)/python scripts/cluster.py --state $(CLUSTER_STATE) --project $(CLUSTER_PROJECT)

# Two, because each of them fills a core, and half of a second one with Polars's threads; `worksteal`, because the long
# tests follow each other. What lies in real/ is not even imported: clients of servers, a browser, Kubernetes; nor, where
# time counts, the libraries of agents. In memory where there is room: tests wait for thousands of fsyncs, of Dagster's
# history most of all.
QUICKLY = -m "not real and not long" --ignore=subject_pipeline_tests/gate/adapters
TESTS = --ignore=subject_pipeline_tests/real $(if $(filter ci nightly,$(HYPOTHESIS_PROFILE)),-m "not real",$(QUICKLY))
ROOM_IN_MEMORY = $(shell test "$$(df -Pm /dev/shm 2>/dev/null | awk 'NR == 2 { print $$4 }')" -ge 2048 2>/dev/null && \
	! grep -q ' /dev/shm .*noexec' /proc/mounts && echo /dev/shm)
test check-real: export TMPDIR := $(or $(TMPDIR),$(ROOM_IN_MEMORY),/tmp)
test: $(READY_DEV) ## The tests that need nothing but files and no long time; all of those with the examples of CI: make test HYPOTHESIS_PROFILE=ci; others every time: =nightly
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(TESTS) $(COVERED)

# Apart, because tracing makes the tests much slower on Python 3.11.
coverage: COVERED = --cov=subject_pipeline
coverage: export HYPOTHESIS_PROFILE ?= ci
coverage: test ## All tests that need nothing but files, and how much of the package they reach: fails below the floor in pyproject.toml

lint: $(READY_DEV) ## Format, style, and which stage imports which
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports

types: $(READY_DEV) ## Types of the package, its tests, benchmarks and scripts
	$(BIN)/mypy

check: export HYPOTHESIS_PROFILE ?= ci
check: lint types test ## What every change must pass: lint, types and all tests that need nothing but files

check-real: export HYPOTHESIS_PROFILE ?= ci
check-real: $(READY_DEV) real-parts ## The tests that need servers, a browser, or longer than a quick test may take
	# Two at once: a third finds no core that waits. A file's tests stay together, they share what they start;
	# in the files' order, since the longest come early, not by how many tests a file has.
	$(BIN)/python -m pytest -q -m real -n 2 --dist loadfile --no-loadscope-reorder

real-parts: ## Install what check-real needs and pip does not have, if the user may
	scripts/install_real_parts.sh

screenshots: $(READY_DEV) ## Take the pictures of docs/images/ again: the browser's test, with pictures of what it sees
	CI=true scripts/install_real_parts.sh browser
	CI=true SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/python -m pytest -q -m real --basetemp=/tmp/subject-pipeline \
		subject_pipeline_tests/real/test_browser.py

mutants: $(READY_DEV) ## Change the code that decides, and count the changes that the tests notice: make mutants SAMPLE=200 MODULE=checkpoints/merkle
	$(BIN)/python scripts/mutants.py $(if $(MODULE),--module $(MODULE)) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

reference: $(READY_DEV) ## Write docs/dagster_reference.md again, from the definitions
	$(BIN)/python scripts/dagster_reference.py

format: $(READY_DEV) ## Format, and repair what the linter can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(READY_DEV) ## Measure against the goals and peers; 10 million rows too with: make bench TEN_MILLION=1
	$(BIN)/python benchmarks/quality.py $(if $(TEN_MILLION),--ten-million)
	$(BIN)/python benchmarks/linking.py
	$(BIN)/python benchmarks/lifecycle.py

bench-scale: $(READY_DEV) ## Measure what grows with subjects, rows and single appends, and what too few chunks cost
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/chunks.py

bench-soak: $(READY_DEV) ## Verify a thousand times beside writers: none may raise an alarm
	$(BIN)/python benchmarks/soak.py

bench-dagster: $(READY_DEV) ## Measure what 50 datasets and 1,024 chunks cost Dagster, beside Dagster itself
	$(BIN)/python benchmarks/definitions.py

bench-buckets: $(READY_DEV) ## Count the requests to an S3 server, and make each of them late
	$(BIN)/python benchmarks/buckets.py
	$(BIN)/python benchmarks/bucket_lives.py

constraints: $(READY) ## Write constraints.txt again, with the newest versions that fit
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 --upgrade \
		--no-emit-index-url --no-annotate --no-header -q -o constraints.txt

# .dagster_home and .cluster stay: they may hold the key ring of your store.
clean: ## Remove what can be made again: .venv, caches, the demo, sample data; not ./data, .dagster_home or .cluster
	rm -rf $(VENV) .demo sample_data .real_parts dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
