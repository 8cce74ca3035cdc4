# Every target sets up what it needs by itself: .venv, and Debian packages where it runs as root
# (otherwise it prints the exact command). `make` alone lists the targets.

PYTHON := .venv/bin/python
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format integration bench bench-kernel lab clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: ## .venv with the pinned requirements
	@requirements/setup.sh venv

demo: venv ## run an example agent end to end: two fresh containers, one NFS workspace
	@$(PYTHON) -m integration.demo

test: venv ## the unit, property and contract tests (minutes, no virtual machine)
	@requirements/setup.sh debian test
	@$(PYTHON) -m pytest tests

check: venv ## formatting, lint, types, layers
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -q tests/test_architecture.py

format: venv ## let ruff rewrite what it can
	@$(PYTHON) -m ruff check --fix-only --quiet .
	@$(PYTHON) -m ruff format .

integration: venv ## the tests with a real kernel NFS client and a real Docker Engine
	@requirements/setup.sh debian test lab workloads
	@$(PYTHON) -m pytest integration

lab: venv ## prepare the lab (once) and say what it offers
	@requirements/setup.sh debian lab
	@$(PYTHON) -m integration.lab prepare
	@$(PYTHON) -m integration.lab doctor

bench: venv ## measure the server against nfs-ganesha, side by side
	@requirements/setup.sh debian bench
	@$(PYTHON) -m bench

bench-kernel: venv ## the same for everyday work through the kernel client
	@requirements/setup.sh debian bench lab
	@$(PYTHON) -m bench kernel

clean: ## remove what the other targets made here (not Debian packages)
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m integration.lab clean || true; fi
	@rm -rf .venv .venv.lock .lab build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
