# `make` lists what can be done. `make run` and `make test` need nothing but Python 3.11 or newer.

PYTHON ?= python3
PORT ?= 5000
DATABASE ?= sqlite
MINUTES ?= 60
WORKERS ?= 2
BIN := .venv/bin
EXPORT := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help run test deep torture lint format bench screenshots docs translations requirements check-requirements clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(BIN)/.runtime ## set up what is missing, then open the shop at http://127.0.0.1:5000 (or PORT=5001)
	$(BIN)/flask shop init
	$(BIN)/flask shop demo
	$(BIN)/flask run --port $(PORT)

test: $(BIN)/.dev ## set up what is missing, then run the whole suite
	$(BIN)/python -m pytest -n auto --dist worksteal

deep: $(BIN)/.dev ## prove at length what the suite proves in short: kills, walks, thousands of requests
	TEST_EVERY_SERVER=1 $(BIN)/python -m pytest tests/payments -n auto --dist worksteal
	$(BIN)/python -m pytest tests/deep -v --durations=0 $(DEEP)

torture: $(BIN)/.dev ## kill the shop at random for MINUTES=60 (or KILLS=200) on DATABASE=sqlite, compare its books
	PYTHONPATH=. $(BIN)/python -m tests.deep.torture --database $(DATABASE) --minutes $(MINUTES) \
		--workers $(WORKERS) $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

lint: $(BIN)/.dev ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/.dev ## bring the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.dev .venv/bench ## measure what the shop costs beside a bare Flask route and a Django tutorial
	$(BIN)/python -m docs.bench

screenshots: $(BIN)/.dev ## take the pictures of README.md from a running shop (needs Chromium)
	$(BIN)/python docs/screenshots.py

docs: $(BIN)/.dev ## write the settings into README.md and .env.example
	PYTHONPATH=. $(BIN)/python docs/generate.py

translations: $(BIN)/.dev ## collect the texts into the translations and compile these
	$(BIN)/pybabel -q extract -F babel.cfg -k _l --no-location --sort-output -o messages.pot .
	$(BIN)/pybabel -q update -i messages.pot -d shop/translations -w 100 -N --ignore-obsolete \
		--ignore-pot-creation-date
	rm messages.pot
	$(BIN)/pybabel -q compile -d shop/translations

requirements: $(BIN)/.dev ## pin what pyproject.toml asks for (UPGRADE=--upgrade for newer versions)
	$(EXPORT) $(UPGRADE) -o requirements.txt
	$(EXPORT) $(UPGRADE) --group dev --extra postgres --extra mysql -c requirements.txt -o requirements-dev.txt

check-requirements: requirements ## tell whether the pins agree with pyproject.toml
	git diff --exit-code requirements.txt requirements-dev.txt

clean: ## remove the environment and what tools left (never instance/)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv .venv

# Beside the environment: nothing of the shop's may find it.
.venv/bench: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $@ "django~=5.2"

$(BIN)/.runtime: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(BIN)/.dev: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(BIN)/.runtime
