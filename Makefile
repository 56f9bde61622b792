# `make demo` runs the studio, `make test` passes the tests; both set up everything they need in .venv first.
# Some of the tests: make test ARGS="-m 'not slow'"; more of them at once: make test JOBS=4.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test fuzz format docs clean

demo: .venv/app.stamp
	$(BIN)/python app.py

test: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses $(JOBS) $(ARGS)

fuzz: .venv/dev.stamp  # 10,000 damaged or forged sound files, 5,000 cards, manifests, shards and rows each: half an hour
	FRAMI_FUZZ=100 $(BIN)/python -m pytest tests/test_mutations.py --timeout 7200 $(ARGS)

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev.stamp
	$(BIN)/python docs/api.py docs/api

.venv/bin/python:
	@$(or $(PYTHON),false) -c '$(FITS)' || { echo "FRAMI Studio needs Python 3.11 or 3.12; name one with: make demo PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "No venv module? On Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }

.venv/app.stamp: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing what the studio needs (PyTorch is large: some minutes, once) ..."
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -e .
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/app.stamp
	@$(PIP) -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv docs/api test-artefacts .pytest_cache .ruff_cache *.egg-info
