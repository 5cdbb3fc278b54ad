.DEFAULT_GOAL := help
PY := .venv/bin/python
UV := .venv/uv/bin/uv
INSTALLED := .venv/.installed
BENCH := .bench-venv/locks
AUDIT := .venv/audit
# Two files of tests at a time, each with servers of its own: on two cores that halves the wait.
PARALLEL ?= -n 2 --dist loadfile
LOCK := --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11

##@ Begin

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9 -]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): requirements/dev.lock requirements/uv.lock deploy/local/setup.sh
	@deploy/local/setup.sh >&2

$(BENCH): $(INSTALLED) requirements/bench.lock requirements/runtime.lock bench/setup.sh
	@bench/setup.sh

.PHONY: setup
setup: $(INSTALLED) ## Make .venv and install the locked packages (PYTHON=python3.12)
	@echo "Everything is installed: go on with 'make up'"

##@ Run

.PHONY: up
up: $(INSTALLED) ## Start all in the foreground, with logs; Ctrl-C stops all (SERVER=hypercorn)
	@$(PY) -m deploy.local up

.PHONY: dev
dev: $(INSTALLED) ## The same, and a service starts again when its code changes
	@$(PY) -m deploy.local up --reload

.PHONY: start
start: $(INSTALLED) ## Start all in the background; returns when all is ready
	@$(PY) -m deploy.local start

.PHONY: stop
stop: $(INSTALLED) ## Stop what runs in the background
	@$(PY) -m deploy.local stop

.PHONY: status
status: $(INSTALLED) ## Show what runs, and whether it is ready (JSON=1)
	@$(PY) -m deploy.local status

.PHONY: logs
logs: $(INSTALLED) ## Follow the logs (SERVICE=users, FOLLOW=0)
	@$(PY) -m deploy.local logs

.PHONY: seed
seed: $(INSTALLED) ## Fill the community with people and articles (USERS=1000 ARTICLES=10000)
	@$(PY) -m deploy.local seed

.PHONY: migrate
migrate: $(INSTALLED) ## Migrate the databases of the running stack
	@$(PY) -m deploy.local migrate

##@ Operate

.PHONY: jobs
jobs: $(INSTALLED) ## Show what waits, by queue (SERVICE=notifications)
	@$(PY) -m deploy.local jobs

.PHONY: dead-letters
dead-letters: $(INSTALLED) ## Show what was set aside (SERVICE=content RETRY=ID, RETRY=all, DROP=ID)
	@$(PY) -m deploy.local dead-letters

.PHONY: replay
replay: $(INSTALLED) ## Send again what was published (SERVICE=content SINCE=2026-11-25T09:00Z)
	@$(PY) -m deploy.local replay

.PHONY: key
key: $(INSTALLED) ## Make a key that signs tokens, as a JWK (docs/operations.md: rotate keys)
	@$(PY) -m deploy.local key

.PHONY: drill
drill: $(INSTALLED) ## Back up a database, lose it, restore it, and see that all agree again
	@$(PY) -m pytest tests/recovery/test_restore.py --durations=1

.PHONY: rebuild
rebuild: $(INSTALLED) ## Make the projections of a service whole again (SERVICE=content)
	@$(PY) -m deploy.local rebuild

##@ Check

.PHONY: bench
bench: $(BENCH) ## Measure the speed beside others' (ROUNDS=5 SECONDS=6; results: docs/results/speed.md)
	@$(PY) -m bench run

.PHONY: bench-quick
bench-quick: $(BENCH) ## Some short races; fail where one falls far below what it was
	@$(PY) -m bench quick

.PHONY: profile
profile: $(BENCH) ## Draw where the time of a route goes, into docs/results (ROUTE=/api/articles)
	@$(PY) -m bench profile

.PHONY: load
load: $(BENCH) ## Ask the running suite so many times a second (rps=100 s=10 ROUTE=/api/articles)
	@$(PY) -m bench load --rps $(or $(rps),100) --seconds $(or $(s),10)

.PHONY: check
check: format-check lint types imports rules ## Everything that must hold before a change lands
	@$(PY) -m pytest $(PARALLEL) --ignore=tests/rules $(ARGS)

.PHONY: test
test: $(INSTALLED) ## Run every test (ARGS="-k register services/users")
	@$(PY) -m pytest $(PARALLEL) $(ARGS)

.PHONY: gateway users content notifications
gateway users content notifications: $(INSTALLED) ## Run the tests of that service
	@$(PY) -m pytest services/$@ $(ARGS)

.PHONY: faults
faults: $(INSTALLED) ## Break everything under load for ten minutes (results: docs/results/faults.md)
	@$(PY) -m tests.faults

.PHONY: rules
rules: $(INSTALLED) ## Test the rules across the repository
	@$(PY) -m pytest tests/rules

.PHONY: k8s-check
k8s-check: $(INSTALLED) ## Render and validate deploy/k8s, and what builds the images
	@$(PY) -m pytest $(addprefix tests/rules/test_,$(addsuffix .py,\
		deploy reach network scaling collector monitoring images))

.PHONY: images-check
images-check: $(INSTALLED) ## Build the images, run them as the manifests do, use and stop them
	@$(PY) -m deploy.images.check

.PHONY: alerts-check
alerts-check: $(INSTALLED) ## Replay figures to the alerts, with promtool where there is one
	@$(PY) -m deploy.images.alerts

.PHONY: routes
routes: $(INSTALLED) ## Show every route and who may call it; fail where two say different things
	@$(PY) -m deploy.local routes

.PHONY: plans
plans: $(INSTALLED) ## Show what each read costs on 100,000 rows; fail where it is too much
	@$(PY) -m deploy.local plans

.PHONY: format
format: $(INSTALLED) ## Format the code
	@$(PY) -m ruff format

.PHONY: format-check
format-check: $(INSTALLED)
	@$(PY) -m ruff format --check

.PHONY: lint
lint: $(INSTALLED) ## Lint the code
	@$(PY) -m ruff check

.PHONY: types
types: $(INSTALLED) ## Check the types, strictly
	@$(PY) -m mypy

.PHONY: imports
imports: $(INSTALLED) ## Check who imports whom
	@.venv/bin/lint-imports

##@ Maintain

.PHONY: new-service
new-service: $(INSTALLED) ## Add a service, and test it (NAME=library THING=book)
	@$(PY) -m deploy.local new-service
	@$(PY) -m pytest -q services/$(NAME) tests/rules --ignore tests/rules/test_new_service.py

.PHONY: security
security: $(INSTALLED) $(AUDIT)/.installed ## Look for weaknesses of packages, code and manifests (OSV_URL=…)
	@$(AUDIT)/bin/bandit -q -ll -r services shared deploy -x '*/tests/*'
	@$(AUDIT)/bin/checkov --framework dockerfile --file Dockerfile
	@mkdir -p build/manifests
	@for overlay in staging production; do \
		.venv/bin/kubectl kustomize deploy/k8s/overlays/$$overlay > build/manifests/$$overlay.yaml || exit 1; done
	@$(AUDIT)/bin/checkov --framework kubernetes --directory build/manifests
	@$(PY) -m deploy.local security requirements/dev.lock requirements/uv.lock

# In an environment of its own: it is large, wants other versions, and few need it.
$(AUDIT)/.installed: requirements/audit.lock $(INSTALLED)
	@$(PY) -m venv --clear $(AUDIT)
	@$(UV) pip sync --system-certs --python $(AUDIT)/bin/python --require-hashes requirements/audit.lock
	@touch $@

.PHONY: upgrade
upgrade: $(INSTALLED) ## Lock the newest versions that pyproject.toml allows
	@$(UV) pip compile --upgrade $(LOCK) --extra dev --extra gateway --extra users --extra notifications --extra local pyproject.toml -o requirements/dev.lock >/dev/null
	@$(UV) pip compile $(LOCK) --extra gateway --extra users --extra notifications -c requirements/dev.lock pyproject.toml -o requirements/runtime.lock >/dev/null
	@echo debugpy | $(UV) pip compile --no-header $(LOCK) -c requirements/dev.lock - -o requirements/debug.lock >/dev/null
	@$(UV) pip compile --upgrade $(LOCK) requirements/bench.in -o requirements/bench.lock >/dev/null
	@echo uv | $(UV) pip compile --upgrade --no-header $(LOCK) - -o requirements/uv.lock >/dev/null

.PHONY: clean
clean: ## Remove .venv and caches; data and logs in .quartet stay
	@rm -rf .venv .bench-venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
