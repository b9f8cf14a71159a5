# The words of this house. `make` alone lists them; CI says the same ones (.ci/run).
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV ?= .venv
PORT ?= 9273
PYTEST ?=
BENCH ?=
export VENV
bin := $(VENV)/bin

.PHONY: help setup run test lint fmt types house build image base-image bench lock clean

help: ## list these words
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r word text; do printf '  make %-10s %s\n' "$$word" "$$text"; done

setup: ## make .venv from requirements/dev.lock (again: at once)
	@scripts/setup

run: setup ## a whole yard with three example models on it (PORT=9273)
	@PORT=$(PORT) exec $(bin)/python scripts/demo.py

test: setup ## the tests; says what it skips and how to have it (PYTEST="-k name")
	@$(bin)/python -m pytest -q -rs $(PYTEST)

lint: setup ## style and format, without changing anything
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .

fmt: setup ## put style and format right where that is mechanical
	@$(bin)/ruff check --fix .
	@$(bin)/ruff format .

types: setup ## strict types of the three packages
	@$(bin)/mypy --strict sdk/src/cog runner/src/modelyard_runner src/modelyard

house: setup ## who may import whom, and the budgets
	@PYTHONPATH=sdk/src $(bin)/lint-imports --no-logo
	@$(bin)/python -m pytest -q tests/test_house.py tests/test_docs.py

build: setup ## the three wheels, in dist/
	@scripts/build

image: ## the yard as an image for the Docker Engine (IMAGE=modelyard:latest)
	@scripts/image

base-image: setup ## an image with Python from Debian's packages, as an OCI layout in the folder OUT
	@scripts/base-image "$(OUT)"

bench: setup ## us beside our peers; writes bench/RESULTS.md (BENCH="--quick hello")
	@$(bin)/python bench/run.py $(BENCH)

lock: setup ## write the locks anew (UPGRADE=1: newest versions)
	@scripts/lock

clean: ## remove what was made: environment, wheels, caches
	@rm -rf $(VENV) dist build bench/.env .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
