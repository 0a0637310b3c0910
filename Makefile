# make demo   a lab with a running three-node control plane, from nothing
# make test   what is checked before anything lands: lint, unit, contract, Molecule, end to end
# make test-long   the operations that take minutes each: CAs, encryption keys, nodes that come and go, renewals, settings, all minors,
#                  five nodes, the loss of all or most of them
# make bench  what docs/benchmarks.md shows, and how fast Secrets are encrypted anew
# make clean  take the labs down and remove what make built

# The first that runs and is new enough: a version manager's shim may be on PATH and name an interpreter that is not there.
PYTHON ?= $(shell for each in python3.13 python3.12 python3.11 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
LAB := lab
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where it is set, every call of cpkit compiles cpkit anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint unit contract molecule e2e bench clean setup test-long system artifacts upgrade-artifacts

setup: $(VENV)/.installed

system:
	@sh scripts/system-packages

$(VENV)/.installed: pyproject.toml | system
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed; name it with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[lab,s3]' --group dev
	@touch $@

# The default version; the tests of upgrades need the newest as well.
artifacts: setup
	$(BIN)/cpkit artifacts fetch

upgrade-artifacts: artifacts
	$(BIN)/cpkit artifacts fetch --version $$($(BIN)/python -c \
		'from cpkit.versions import version_table; print([*version_table().minors][-1])')

demo: setup artifacts
	$(BIN)/cpkit lab up $(LAB)
	$(BIN)/cpkit bootstrap -i $(LAB) --yes
	$(BIN)/cpkit health -i $(LAB)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	ANSIBLE_CONFIG=playbooks/ansible.cfg $(BIN)/ansible-lint --offline

# Much of these is waiting, so they go side by side; a lab has the machine for itself.
SIDE_BY_SIDE := -n 2 --dist loadfile

unit: setup
	$(BIN)/pytest -n 2 --dist worksteal tests/unit

contract: setup artifacts
	$(BIN)/pytest $(SIDE_BY_SIDE) tests/contract

molecule: setup artifacts
	$(BIN)/pytest tests/molecule

e2e: setup upgrade-artifacts
	$(BIN)/pytest tests/e2e

test: lint upgrade-artifacts
	$(BIN)/pytest $(SIDE_BY_SIDE) tests/unit tests/contract tests/molecule
	$(BIN)/pytest -m 'not long' --durations=40 --durations-min=10 tests/e2e

test-long: lint upgrade-artifacts
	$(BIN)/pytest -m long --durations=40 --durations-min=10 tests/e2e

bench: setup artifacts
	$(BIN)/python -m bench
	$(BIN)/python -m bench --backup
	$(BIN)/python -m bench.encryption

clean:
	-[ ! -x $(BIN)/cpkit ] || $(BIN)/cpkit lab down --all
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache
