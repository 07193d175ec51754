# `make` lists the targets. Everything is installed below this folder; nothing needs root except the
# Debian packages of `make test`. Choose another Python with PYTHON=..., another torch with TORCH=...
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
EXTRA := .venv-openmpi .venv-mpich-parallel .venv-openmpi-parallel .venv-vtk93

.DEFAULT_GOAL := help
.PHONY: help run test check docs bench-engine bench-scale bench-speed bench-start bench-page bench-gpu bench-curvature plotly package soak environments system clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo '  TORCH="torch==2.13.0" chooses the torch to install (arguments of pip); TORCH= installs none'

run: .venv/installed ## install what is missing, then compute the default landscape on 4 ranks
	$(BIN)/mpirun -n 4 $(BIN)/python -m lossgrid run jobs/digits.yaml

test: environments ## install what is missing, then run the whole test suite
	LOSSGRID_REQUIRE_ALL=1 $(BIN)/python -m pytest

check: .venv/installed-dev ## lint, formatting, types and documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(MAKE) --no-print-directory docs

docs: .venv/installed-dev ## build the site of the documentation: build/docs/index.html
	$(BIN)/sphinx-build -q -E -W --keep-going -d build/doctrees docs build/docs

bench-engine: .venv/installed-dev ## measure the engine (not part of the tests)
	$(BIN)/python benchmarks/engine.py

bench-scale: .venv/installed-dev ## measure how many ranks one coordinator serves (not part of the tests)
	$(BIN)/python benchmarks/scale.py

bench-speed: .venv/installed-dev ## measure what a grid point costs (not part of the tests)
	$(BIN)/python benchmarks/speed.py

bench-start: .venv/installed-dev ## measure how soon a run begins and its memory (not part of the tests)
	$(BIN)/python benchmarks/start.py

bench-page: .venv/installed-dev ## measure an interactive page in a browser (not part of the tests)
	$(BIN)/python benchmarks/page.py

bench-gpu: .venv/installed-dev ## measure what a point costs on one GPU (not part of the tests)
	$(BIN)/python benchmarks/gpu.py

bench-curvature: .venv/installed-dev ## measure what curvature costs (not part of the tests)
	$(BIN)/python benchmarks/curvature.py

package: .venv/installed-dev ## build the package, try it in a fresh environment
	$(BIN)/python tools/try_package.py $(if $(filter undefined,$(origin TORCH)),,'$(TORCH)')

plotly: ## build anew what the pages have of Plotly (needs Node.js and npm)
	cd tools/plotly && npm ci --silent && node build.js

soak: environments ## let faults happen to runs for an hour (not part of the tests)
	$(BIN)/python benchmarks/soak.py

environments: ## create the environments of the tests
	@$(MAKE) --no-print-directory system
	@$(MAKE) --no-print-directory -j2 .venv/installed-dev $(EXTRA:=/installed)

system: ## install the Debian packages of the tests, or name the missing ones
	@$(PYTHON) tools/system_packages.py

# The packages of an environment are installed anew when their list changes.
.venv/installed: setup.cfg tools/install_torch.py
	@$(PYTHON) tools/check_python.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python tools/install_torch.py $(if $(filter undefined,$(origin TORCH)),,'$(TORCH)')
	$(BIN)/python -m pip install --quiet -e '.[mpi,view,digits]'
	@touch $@

.venv/installed-dev: .venv/installed tools/peers.txt
	$(BIN)/python -m pip install --quiet -e '.[mpi,view,vtk,movie,digits,formats,lightning,dev]'
	$(BIN)/python -m pip install --quiet --no-deps -r tools/peers.txt
	@touch $@

.venv-%/installed: .venv/installed-dev tools/environment.py
	$(BIN)/python tools/environment.py $*
	@touch $@

clean: ## remove the environments, built wheels and caches (results in out/ stay)
	rm -rf .venv $(EXTRA) .cache build tools/plotly/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find lossgrid tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +
