# `make` lists the targets. Everything runs from .venv, which is made when it is missing.
SHELL := /bin/sh
VENV ?= .venv
FOREIGN ?= .foreign
PY := $(VENV)/bin/python
export VENV FOREIGN
IMAGE ?= sentinel
# One more than the cores that tests are meant for: a third of their time is waiting.
TEST_PROCESSES ?= 3
COMPOSE_DEV := docker compose -f deploy/compose.dev.yaml

.DEFAULT_GOAL := help
.PHONY: help setup run serve test check fmt cover bench journeys chaos config-docs image image-dir up down clean

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: ## make the environment for development, nothing else
	@scripts/setup.sh dev

run: ## everything on this machine, with simulators of Zion and the provider: ready to call
	@scripts/setup.sh runtime
	@exec $(PY) -m sentinel.launch run

serve: ## the same processes from the environment or .env, without simulators
	@scripts/setup.sh runtime
	@exec $(PY) -m sentinel.launch serve

test: ## all tests but the long journeys, from a bare checkout to green
	@scripts/setup.sh dev
	@$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadgroup -m "not journey" $(ARGS)

check: ## everything CI checks besides the tests
	@scripts/setup.sh dev
	@scripts/check.sh

fmt: ## format, and mend what can be mended
	@scripts/setup.sh dev
	@$(PY) -m ruff check --fix-only --quiet . && $(PY) -m ruff format .

cover: ## tests with branch coverage
	@scripts/setup.sh dev
	@$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadgroup -m "not journey" --cov --cov-report=term-missing:skip-covered $(ARGS)

bench: ## added latency, throughput and memory, with this machine named
	@scripts/setup.sh dev
	@$(PY) -m tests.benchmarks $(ARGS)

journeys: ## the long journeys, with foreign clients and servers
	@scripts/setup.sh dev
	@scripts/foreign.sh
	@$(PY) -m pytest -n 0 -m journey $(ARGS)

chaos: ## load under random faults, then three ledgers added up: make chaos MINUTES=3 SEED=1
	@scripts/setup.sh dev
	@$(PY) -m tests.chaos --minutes $(or $(MINUTES),3) --seed $(or $(SEED),1) $(ARGS)

config-docs: ## write docs/configuration.md and the env examples from sentinel/config.py
	@scripts/setup.sh dev
	@$(PY) -m scripts.config_docs

image: ## build the container image
	docker build --tag $(IMAGE) .

image-dir: ## the image's steps without Docker: make image-dir PREFIX=/some/folder
	@deploy/image/build.sh "$(PREFIX)"

up: ## the containers with simulators in place of Zion and the provider
	$(COMPOSE_DEV) up --build --wait

down: ## stop those containers; their volumes stay
	$(COMPOSE_DEV) down

clean: ## remove caches; the environment and the data stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis htmlcov .coverage
