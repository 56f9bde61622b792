# `make demo` runs the studio, `make test` passes the tests; both set up everything they need in .venv first.
# Some of the tests: make test ARGS="-m 'not slow'"; more of them at once: make test JOBS=4.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test fuzz format docs screenshots lock audit sbom space space-check clean

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

# Each tab, on a desktop and a phone, light and dark: to build/screenshots, and those of the docs to docs/.
screenshots: .venv/dev.stamp
	$(BIN)/python -m deploy.screenshots $(ARGS)

# Versions and hashes of all packages, those that others need included: for Python 3.11 and 3.12, Linux and macOS.
# What is locked already stays; newer versions: make lock ARGS=--upgrade.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" build/tools/bin/uv pip compile --quiet --universal --generate-hashes \
	--only-binary :all: --python-version 3.11 $(ARGS)
lock: build/tools.stamp
	$(COMPILE) requirements-space.txt -o requirements-space.lock
	$(COMPILE) -c requirements-space.lock requirements.txt -o requirements.lock
	$(COMPILE) -c requirements-space.lock requirements-dev.txt -o requirements-dev.lock
	$(COMPILE) requirements-tools.txt -o requirements-tools.lock

# Known weaknesses of the locked packages. A report that was saved does without a network: make audit REPORT=FILE.
audit: build/tools.stamp .venv/app.stamp
	$(BIN)/python -m deploy.audit $(if $(REPORT),--report $(REPORT))

sbom: build/tools.stamp
	build/tools/bin/cyclonedx-py requirements requirements.lock --output-reproducible --of JSON -o build/sbom.json

# The files of a Space, and a rehearsal of it. All as it will be there, which takes minutes: make space-check FRESH=1.
space: .venv/app.stamp
	rm -rf build/space
	$(BIN)/python -m frami publish --out build/space

space-check: space .venv/dev.stamp
	$(if $(FRESH),rm -rf build/environment)
	$(if $(FRESH),$(BIN)/python -m deploy.space_check build/space --install build/environment)
	$(BIN)/python -m deploy.space_check build/space $(if $(FRESH),--python build/environment/bin/python) $(ARGS)

build/tools.stamp: requirements-tools.lock | .venv/bin/python
	@$(BIN)/python -m venv build/tools
	@build/tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-tools.lock
	@touch $@

.venv/bin/python:
	@$(or $(PYTHON),false) -c '$(FITS)' || { echo "FRAMI Studio needs Python 3.11 or 3.12; name one with: make demo PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "No venv module? On Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }

.venv/app.stamp: requirements.lock pyproject.toml | .venv/bin/python
	@echo "Installing what the studio needs (PyTorch is large: some minutes, once) ..."
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/app.stamp
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

clean:
	rm -rf .venv build docs/api test-artefacts .pytest_cache .ruff_cache *.egg-info
