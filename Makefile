# Everything runs in .venv, made with pip from pyproject.toml (ranges) and constraints.txt (exact versions).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# An install is done again only when what it depends on has changed.
KEY    := $(shell cat pyproject.toml constraints.txt | $(PYTHON) -c "import hashlib, os, sys; print(hashlib.sha256(sys.stdin.buffer.read() + os.getcwdb()).hexdigest()[:16])")
BASE   := $(VENV)/.installed-base-$(KEY)
ALL    := $(VENV)/.installed-all-$(KEY)
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

export RAY_USAGE_STATS_ENABLED := 0
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help demo trailer test chaos chaos-table install lint

help:
	@echo "make demo     render the eight sample shots into ./out"
	@echo "make trailer  storyboard, clips, cut and deliverables of a film of 30 s into ./out-trailer"
	@echo "make test     every test, against a real S3 server and a real Prefect server"
	@echo "make chaos    kill processes of a running farm, SEED=7 KILLS=100, and audit what is left"
	@echo "make install  the package with all extras, into $(VENV)"
	@echo "make lint     style, types and the law of the layers"

demo: $(if $(wildcard $(ALL)),,$(BASE))
	@$(BIN)/rushes render catalogs/samples/demo.parquet --out ./out

# The worked example; stopped and started again, it goes on (catalogs/samples/trailer/README.md).
trailer: $(if $(wildcard $(ALL)),,$(BASE))
	@$(BIN)/python -m flows.trailer --out ./out-trailer

# Two workers: farms in one, everything else in the other (tests/conftest.py). The last line is pytest's own.
test: $(ALL)
	@$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder $(PYTEST_ARGS)

# Every kind of process, at every phase, by SIGKILL; half an hour at most. Adds to the results and to the page.
SEED  ?= 7
KILLS ?= 100
OUT   ?= tests/chaos/results
chaos: $(ALL)
	@$(BIN)/python -m tests.chaos run --seed $(SEED) --kills $(KILLS) --out $(OUT)

# The results of all recorded seeds, summed up in actors/RELIABILITY.md.
chaos-table: $(ALL)
	@$(BIN)/python -m tests.chaos table

install: $(ALL)

lint: $(ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# pip is the last thing that venv makes: a half-made one is made again.
$(BIN)/pip:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and f'rushes needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.11 ...')"
	@$(PYTHON) -m venv $(VENV)

$(BASE): | $(BIN)/pip
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP) --editable .
	@touch $@

$(ALL): | $(BIN)/pip
	@echo "installing into $(VENV), with all extras (a few minutes the first time)"
	@$(PIP) --editable '.[test]'
	@touch $@
