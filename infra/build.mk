# The deployed artefacts: made by sam, run under Lambda's own runtime. Part of the Makefile.

# Lambda's processor: x86_64 or arm64. The template's parameter Architecture must say the same at the deploy.
ARCHITECTURE ?= x86_64
export ARCHITECTURE
export SAM_CLI_TELEMETRY ?= 0
SAM := .venv-deploy/bin/sam

# More options for `sam local`, for example --skip-pull-image where the base image is already there.
SAM_FLAGS ?=
export SAM_FLAGS

.PHONY: build test-artifacts test-sam sam-invoke sam-api events

build: .venv-deploy/deploy.installed $(VENV)/build.installed  ## Make the packages that are deployed, in .aws-sam/build/.
	@$(SAM) build --parameter-overrides Architecture=$(ARCHITECTURE)
	@$(BIN)/python -m infra.build --sizes .aws-sam/build

test-artifacts: $(VENV)/test.installed $(VENV)/build.installed .venv-deploy/deploy.installed  ## Run what was built under Lambda's runtime client and emulator.
	@$(BIN)/python -m pytest tests/artifacts --ignore tests/artifacts/test_containers.py $(ARGS)

test-sam: $(VENV)/test.installed $(VENV)/build.installed .venv-deploy/deploy.installed  ## Run what was built in containers, by sam local and Docker.
	@$(BIN)/python -m pytest tests/artifacts/test_containers.py $(ARGS)

# FUNCTION is a name in template.yaml, EVENT one in local/events.
sam-invoke: $(VENV)/serve.installed  ## Run an event in a container: FUNCTION=PredictFunction EVENT=predict.
	@test -n "$(FUNCTION)" -a -f "local/events/$(EVENT).json" || { \
		echo "usage: make sam-invoke FUNCTION=PredictFunction EVENT=predict" >&2; \
		echo "functions:" $$(sed -n 's/^  \([A-Za-z][A-Za-z]*Function\):$$/\1/p' template.yaml) >&2; \
		echo "events:" $$(basename -s .json local/events/*.json) >&2; exit 2; }
	@exec $(BIN)/python -m local sam invoke $(FUNCTION) --event local/events/$(EVENT).json $(SAM_FLAGS)

sam-api: $(VENV)/serve.installed  ## Serve the API with sam local start-api, a container a request. No forms: see the README.
	@exec $(BIN)/python -m local sam start-api --port $(or $(PORT),3000) $(SAM_FLAGS)

events: $(VENV)/serve.installed  ## Write the sample events in local/events/ anew.
	@$(BIN)/python -m local.sample_events

# What `sam build` asks for, function by function (`Metadata` in template.yaml).
build-%: $(VENV)/build.installed
	@$(BIN)/python -m infra.build $* '$(ARTIFACTS_DIR)'

# Its own virtual environment: sam pins what the project wants newer. The set is complete, and --no-deps keeps older pips
# from taking a package that is pinned without its extras for one that is not pinned. 340 MB installed.
.venv-deploy/deploy.installed: requirements/deploy.txt $(call unless-works,.venv-deploy)
	@$(install) $< --no-deps
	@touch $@
