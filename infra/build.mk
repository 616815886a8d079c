# Included by the Makefile: targets that build the deployed packages with sam and run them under Lambda's own runtime.

# Lambda's processor: x86_64 or arm64. Deploy with the same value of the template's parameter Architecture, or the
# functions cannot load their libraries.
ARCHITECTURE ?= x86_64
export ARCHITECTURE
export SAM_CLI_TELEMETRY ?= 0
SAM := .venv-deploy/bin/sam

# More options for `sam local`, for example --skip-pull-image if the base image has been pulled already.
SAM_FLAGS ?=
export SAM_FLAGS

.PHONY: build test-artifacts test-sam sam-invoke sam-api events

build: .venv-deploy/deploy.installed $(VENV)/build.installed  ## Build the packages to deploy, in .aws-sam/build/.
	@$(SAM) build --parameter-overrides Architecture=$(ARCHITECTURE)
	@$(BIN)/python -m infra.build --sizes .aws-sam/build

test-artifacts: $(VENV)/test.installed $(VENV)/build.installed .venv-deploy/deploy.installed  ## Run the built packages under Lambda's runtime client and emulator.
	@$(BIN)/python -m pytest tests/artifacts --ignore tests/artifacts/test_containers.py --ignore tests/artifacts/test_images.py $(ARGS)

test-sam: $(VENV)/test.installed $(VENV)/build.installed .venv-deploy/deploy.installed  ## Run the built packages in containers, with sam local and Docker.
	@$(BIN)/python -m pytest tests/artifacts/test_containers.py tests/artifacts/test_images.py $(ARGS)

# FUNCTION is a function's name in template.yaml; EVENT is a file's name in local/events, without .json.
sam-invoke: $(VENV)/serve.installed  ## Run an event in a container: FUNCTION=PredictFunction EVENT=predict.
	@test -n "$(FUNCTION)" -a -f "local/events/$(EVENT).json" || { \
		echo "usage: make sam-invoke FUNCTION=PredictFunction EVENT=predict" >&2; \
		echo "functions:" $$(sed -n 's/^  \([A-Za-z][A-Za-z]*Function\):$$/\1/p' template.yaml) >&2; \
		echo "events:" $$(basename -s .json local/events/*.json) >&2; exit 2; }
	@exec $(BIN)/python -m local sam invoke $(FUNCTION) --event local/events/$(EVENT).json $(SAM_FLAGS)

sam-api: $(VENV)/serve.installed  ## Serve the API with sam local start-api, one container per request. No forms: see docs/running.md.
	@exec $(BIN)/python -m local sam start-api --port $(or $(PORT),3000) $(SAM_FLAGS)

events: $(VENV)/serve.installed  ## Write the sample events in local/events/ again.
	@$(BIN)/python -m local.sample_events

# `sam build` runs this target for each function (see `Metadata` in template.yaml).
build-%: $(VENV)/build.installed
	@$(BIN)/python -m infra.build $* '$(ARTIFACTS_DIR)'

# sam (340 MB) has its own virtual environment, because it pins older versions of packages that the project uses. The
# file pins every package, so --no-deps is safe. Without it an older pip fails: it takes a requirement with extras for a
# package that is not pinned.
.venv-deploy/deploy.installed: requirements/deploy.txt $(call unless-works,.venv-deploy)
	@$(install) $< --no-deps
	@touch $@
