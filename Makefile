# PullSync. `make up` starts everything; `make test` runs all tests. See README.md.

.DEFAULT_GOAL := help
PYTHON_RUN := .venv/bin/python
ARGS ?=
ROUNDS ?= 1
SEED ?=
SECONDS ?= 180
export CLIENTS MONITORING

.PHONY: help install up demo test compose chaos fuzz attack bench secrets backup restore lint audit format docs screenshots lock clean

help: ## Show this help.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: ## Install everything into .venv (the other targets do so by themselves).
	@sh dev/bootstrap.sh

up: install ## Start everything, show a capture's way, stay until Ctrl-C. CLIENTS=n, MONITORING=1, REGISTRY_PORT, CLIENT_PORT, RABBITMQ_MANAGEMENT_PORT
	@exec $(PYTHON_RUN) -m dev.up up

demo: install ## The same, then stop; status 0 when all went well.
	@exec $(PYTHON_RUN) -m dev.up demo

test: install ## Run all tests against real servers. ARGS="-k ranking" passes options to pytest.
	@$(PYTHON_RUN) -m pytest $(ARGS)

compose: install ## Run docker compose on a real engine, by what the docs say, with faults of each container. Needs Docker, and root
	@$(PYTHON_RUN) -m pytest tests/compose $(ARGS)

chaos: install ## Kill, cut and stall everything, and check that nothing is lost. ROUNDS=1 SEED=by chance SECONDS=180
	@exec $(PYTHON_RUN) -m tests.chaos --rounds $(ROUNDS) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: install ## Look for bytes that break a decoder, led by coverage. SECONDS=180 for each target, ONLY="plain item" for some
	@exec $(PYTHON_RUN) -m tests.fuzz --seconds $(SECONDS) $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) $(ARGS)

attack: install ## Send registry and client whatever their OpenAPI documents allow, and what not. SECONDS=180 for each, SEED=7
	@ATTACK_SECONDS=$(SECONDS) ATTACK_SEED=$(or $(SEED),7) $(PYTHON_RUN) -m pytest tests/e2e/test_any_request.py $(ARGS)

bench: install ## Measure, against what else one would use. ONLY="ingest polls" for parts, QUICK=1 for 3 minutes, RUNS=5
	@exec $(PYTHON_RUN) -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(RUNS),--runs $(RUNS))

secrets: install ## Make passwords, tokens, a CA and certificates in secrets/, for docker-compose.tls.yml. HOSTS="names of this machine"
	@$(PYTHON_RUN) -m dev.first_secrets $(HOSTS)

backup: install ## Back up the database of `make up`, or of DATABASE_URL (a superuser's). FILE=pullsync.dump
	@exec $(PYTHON_RUN) -m dev.backup backup "$(FILE)"

restore: install ## Restore a backup into an empty database: that of `make up` after `make clean`, or of DATABASE_URL. FILE=...
	@exec $(PYTHON_RUN) -m dev.backup restore "$(FILE)"

lint: install ## Check style, types, and what is known to be insecure.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/bandit -q -c pyproject.toml -r services shared cli

audit: install ## Ask whether a known vulnerability is in what is installed (needs the network).
	@exec $(PYTHON_RUN) -m dev.audit

format: install ## Format the code.
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: install ## Write the OpenAPI and AsyncAPI documents and the queues of deploy/rabbitmq/definitions.json anew, from the code.
	@$(PYTHON_RUN) -m dev.docs

screenshots: install ## Take the pictures of both web pages in docs/images/ anew, of a stack that works for some minutes.
	@exec $(PYTHON_RUN) -m dev.screenshots

lock: ## Compile the requirements files anew, with hashes (needs uv).
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --group dev -c requirements.txt \
		pyproject.toml -o requirements-dev.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header benchmarks/requirements.in \
		-o benchmarks/requirements.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header tests/fuzz/requirements.in \
		-o tests/fuzz/requirements.txt

clean: install ## Remove the data of `make up` (.local/).
	@exec $(PYTHON_RUN) -m dev.up clean
