# Two commands matter: `make serve` and `make test`. Both need Python 3.11 to 3.14 and nothing else.

# The first Python on the PATH that will do. Set PYTHON to use another: a virtual environment that was made with a
# different version is then made again.
ASKED := $(PYTHON)
override PYTHON = $(or $(ASKED),$(shell sh infra/virtualenv.sh find))
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

# `install` installs into the virtual environment that a stamp file belongs to. `unless-works` makes a stamp out of date
# if the environment's Python is gone or is not the version in PYTHON.
install = ASKED='$(ASKED)' sh infra/virtualenv.sh install $(@D) '$(PYTHON)'
unless-works = $(shell sh infra/virtualenv.sh works $(1) '$(ASKED)' || echo always)
.PHONY: always

# The apps that the benchmarks compare with, each in a virtual environment of its own.
COMPARED := .venv-plain/plain_app.installed .venv-by-hand/by_hand_app.installed \
	.venv-litserve/litserve_app.installed .venv-bentoml/bentoml_app.installed

include infra/build.mk

.PHONY: help serve psql test test-fast test-fuzz test-faults test-export test-browser screenshots test-clients test-snippets bench lint format baselines openapi vendor requirements clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

serve: $(VENV)/serve.installed  ## Serve the API on http://127.0.0.1:3000 with its own database; SERVER=batching in batches.
	@exec $(BIN)/python -m local

psql: $(VENV)/serve.installed  ## Open the ledger's database in psql; ARGS="-c 'SELECT ...'" runs one statement.
	@$(BIN)/python -m local psql $(ARGS)

test: $(VENV)/test.installed  ## Run the tests with a real PostgreSQL and real ONNX files.
	@$(BIN)/python -m pytest -n 2 --ignore tests/export --ignore tests/clients --ignore tests/artifacts --ignore tests/fuzz --ignore tests/browser $(ARGS)

# What `test-fast` does not even load, for that alone takes seconds: modules of which every test, or nearly every one, is
# slow or starts a server. The plugins that it leaves out take half a second to import, in each of three processes.
NOT_FAST := tests/e2e tests/console tests/faults tests/object_storage tests/local/commands tests/local/services \
	tests/functions/asynchronous \
	$(patsubst %,tests/evaluation/test_%.py,bins_of_any_number distributions drift performance) \
	$(patsubst %,tests/functions/test_%.py,any_model authorizer bad_input clients_as_they_are console deletion drift \
		fitted_images ground_truth head health idempotency in_doubt infer inference_id journeys large_outputs linear \
		list_by_outcome many measured model_identity multipart object_storage openapi pages performance \
		predict_store_list_get refused_requests rollup_metrics slow_model start_up statistics stored_before tensors \
		uploads version what_a_function_loads) \
	$(patsubst %,tests/inference/test_%.py,imports location make_baseline parity pictures plain_png) \
	$(patsubst %,tests/infra/test_%.py,benchmark_filled bill_of_materials build function_users inputs migrate stages \
		template virtual_environment) \
	$(patsubst %,tests/ledger/test_%.py,asynchronous baseline connection deletions ground_truths idempotency \
		large_outputs login many_requests measured migrations pages pages_of_outcomes pgbouncer plans \
		plans_of_deletions plans_of_many_requests pool prediction_log queue quotas refusals rollups secret store tensors \
		wait_budget withdraw) \
	$(patsubst %,tests/local/batching/test_%.py,asynchronous batcher direct metrics queue_worker supervisor watched) \
	$(patsubst %,tests/local/gateway/test_%.py,events http_server) \
	$(patsubst %,tests/local/http/test_%.py,auth sign_in) \
	$(patsubst %,tests/local/runtime/test_%.py,pool triggers) \
	tests/prediction/test_each_on_its_own.py

test-fast: $(VENV)/test.installed  ## Run the tests that are not slow and start no server.
	@$(BIN)/python -m pytest -n 2 -p no:schemathesis -p no:hypothesispytest -p no:anyio -m "not slow and not server" --ignore tests/export --ignore tests/clients --ignore tests/artifacts --ignore tests/fuzz --ignore tests/browser $(addprefix --ignore=,$(NOT_FAST)) $(ARGS)

test-fuzz: $(VENV)/fuzz.installed  ## Send the API what nobody thought of, for up to 4 minutes; FUZZ_EXAMPLES=1000 sends more.
	@$(BIN)/python -m pytest -n 2 tests/fuzz $(ARGS)

test-faults: $(VENV)/test.installed  ## Predict while everything fails, and compare what was stored; LONG=1 sends 100,000 requests, MINUTES=60 takes an hour.
	@$(BIN)/python -m tests.faults $(if $(filter-out 0,$(LONG)),--long) $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

test-export: .venv-train/train.installed  ## Run the tests of training and export, which need TensorFlow (1.7 GB).
	@.venv-train/bin/python -m pytest --confcutdir=tests/export tests/export $(ARGS)

test-browser: $(VENV)/browser.installed  ## Use the console as people do, in the Chromium or Chrome that is installed.
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/browser $(ARGS)

screenshots: $(VENV)/browser.installed  ## Take the pictures of the console that the README shows.
	@$(BIN)/python -m pytest -q tests/browser/take_screenshots.py $(ARGS)

test-clients: $(VENV)/test.installed  ## Call a running server with unmodified clients, and compare drift with Evidently and NannyML.
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/clients $(ARGS)

test-snippets: $(VENV)/test.installed  ## Run each of the README's Python snippets with only its own library installed (3 GB).
	@FRESH_ENVIRONMENTS=1 $(BIN)/python -m pytest tests/e2e/test_snippets.py $(ARGS)

bench: $(VENV)/test.installed $(COMPARED)  ## Run the benchmarks and print their ratios as a table.
	@$(BIN)/python -m tests.benchmarks $(ARGS)

lint: $(VENV)/lint.installed  ## Check style, types, layers, the template and the generated files.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy functions infra local model_artifacts tests
	@$(BIN)/lint-imports
	@$(BIN)/cfn-lint template.yaml infra/*.yaml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/kubernetes-validate --strict --quiet local/server/kubernetes.yaml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	@$(BIN)/python -m infra.openapi --check
	@$(BIN)/python -m infra.vendor --check

format: $(VENV)/lint.installed  ## Format the code.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# FOLDER has train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz.
baselines: $(VENV)/test.installed  ## Write the baselines of the shipped models again: IDX=FOLDER has MNIST's images.
	@test -d "$(IDX)" || { echo "usage: make baselines IDX=FOLDER" >&2; exit 2; }
	@$(BIN)/python -m model_artifacts baseline model_artifacts/mnist "$(IDX)" --held-out 12
	@patients=$$(mktemp) && $(BIN)/python -m model_artifacts patients "$$patients" && \
		$(BIN)/python -m model_artifacts baseline model_artifacts/diabetes "$$patients" --truth progression && \
		rm "$$patients"

openapi: $(VENV)/serve.installed  ## Write the OpenAPI document again, from the code.
	@$(BIN)/python -m infra.openapi

# npm fetches them: it comes with Node.js.
vendor: $(VENV)/serve.installed  ## Fetch what the console loads of others again; UPGRADE=1 takes the newest versions.
	@$(BIN)/python -m infra.vendor $(if $(filter-out 0,$(UPGRADE)),--upgrade)

requirements: $(VENV)/build.installed  ## Compile the dependency groups to hash-pinned files; UPGRADE=1 takes the newest versions.
	@$(BIN)/python -m infra.requirements $(if $(filter-out 0,$(UPGRADE)),--upgrade)

clean:  ## Remove everything installed and built, but not the data in .ledger/.
	rm -rf .venv .venv-lambda .venv-train .venv-plain .venv-by-hand .venv-litserve .venv-bentoml .venv-clients .venv-deploy .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# serve, build, test and lint share one virtual environment: their files pin the same versions, so each may be installed
# over another.
$(VENV)/%.installed: requirements/%.txt $(call unless-works,$(VENV))
	@$(install) $<
	@touch $@

# Training and what the benchmarks compare with have virtual environments of their own. TensorFlow alone has 1.7 GB.
.venv-train/train.installed: requirements/train.txt $(call unless-works,.venv-train)
.venv-plain/plain_app.installed: requirements/plain_app.txt $(call unless-works,.venv-plain)
.venv-by-hand/by_hand_app.installed: requirements/by_hand_app.txt $(call unless-works,.venv-by-hand)
.venv-litserve/litserve_app.installed: requirements/litserve_app.txt $(call unless-works,.venv-litserve)
.venv-bentoml/bentoml_app.installed: requirements/bentoml_app.txt $(call unless-works,.venv-bentoml)
.venv-train/train.installed $(COMPARED):
	@$(install) $<
	@touch $@
