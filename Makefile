# What a user or an engineer runs. Every target prepares what it needs first;
# with everything in place that takes less than a second.
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench clean

help:
	@echo "make setup  install Debian packages and the Python environment (.venv), link kernel headers"
	@echo "make demo   two hosts, three links, one bond, in network namespaces (root)"
	@echo "make test   make check, then all tests (root, for those in the kernel)"
	@echo "make check  format, lint, types, warnings of the C sources"
	@echo "make bench  measure the packet path (root, a quiet machine)"
	@echo "make clean  remove the environment, caches and build artefacts"

setup:
	@.ci/setup

demo: setup
	$(VENV)/mpbond lab run demo

test: setup check
	$(VENV)/python -m pytest

check: setup
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	.ci/check-bpf

bench: setup
	$(VENV)/python -m pytest tests/bench --timeout=0 --benchmark-only --benchmark-columns=min,median,max -q
	$(VENV)/python tests/bench/sidebyside.py
	$(VENV)/python tests/bench/control_period.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks ctl/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
