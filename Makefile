# Every target does its own set-up (see scripts/setup): a virtual environment, made once.
#   make PYTHON=python3.13 test       which interpreter (default: the newest found, 3.11 or later)
#   make VENV=.venv-313 test          which environment (default: .venv)
#   make test ARGS="tests/core -x"    more arguments for the command behind a target

VENV ?= .venv
PY := $(VENV)/bin/python
ARGS ?=
export VENV PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench chaos docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:  ## count Python's standard library with a real worker, and kill a child on the way
	@scripts/setup demo
	@$(PY) demo/run.py $(ARGS)

test:  ## run the test suite, in two processes (ARGS="-n 0": in one)
	@scripts/setup dev
	@$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

check:  ## lint, format, types and layers
	@scripts/setup dev
	@scripts/check

format:  ## apply the formatter and the safe fixes of the linter
	@scripts/setup dev
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

bench:  ## time Umbel against its peers, on four brokers, on this machine
	@scripts/setup bench
	@$(PY) -m benchmarks.run $(ARGS)

chaos:  ## kill workers at random moments for some minutes, and check that nothing is lost
	@scripts/setup dev
	@CHAOS=long $(PY) -m pytest tests/chaos --timeout=1800 $(ARGS)

docs:  ## build the documentation site into build/site
	@scripts/setup docs
	@$(VENV)/bin/zensical build --clean $(ARGS)

clean:  ## remove environments, caches and what was built
	@rm -rf .venv .venv-* build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .cache htmlcov .coverage*
	@rm -rf benchmarks/.venv-* benchmarks/.scratch
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
