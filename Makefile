PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Versions that the whole suite passed with. Install the newest versions instead: make test CONSTRAINTS=
CONSTRAINTS ?= -c constraints.txt
TOOLS := .venv-tools

.PHONY: quickstart tour test test-slow test-lowest test-newest audit sbom trials soak docs benchmark lint types format clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The environment is reinstalled when one of these files is newer than it.
$(VENV)/quickstart: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[quickstart]'
	touch $@

$(VENV)/test: $(VENV)/quickstart
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[quickstart,serve]' --group dev
	touch $@

quickstart: $(VENV)/quickstart ## train, evaluate, export, evaluate the bundle and diff, on real images and captions
	@set -e; PATH="$(abspath $(BIN)):$$PATH"; \
	say() { printf '\n$$ %s\n' "$$*"; "$$@"; }; \
	printf '$$ cbalign train experiments/quickstart.yaml\n'; \
	run=$$(cbalign train experiments/quickstart.yaml); \
	say cbalign evaluate "$$run" --on test; \
	say cbalign export "$$run" --output exports/quickstart --force; \
	say cbalign evaluate exports/quickstart --on test; \
	say cbalign diff experiments/scratch.yaml experiments/quickstart.yaml || test $$? -eq 1

tour: $(VENV)/quickstart ## pretrain, fine-tune, evaluate and export all tasks on drawn scenes; resumes if stopped
	$(BIN)/python -m benchmarks.tour

test: $(VENV)/test ## run every check in an environment of its own
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-slow: $(VENV)/test ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-newest: ## run the tests with the newest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=

test-lowest: .venv-lowest/test ## run the tests with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2

# Old versions of starlette test with httpx, newer ones with httpx2.
.venv-lowest/test: pyproject.toml $(TOOLS)/ready
	$(PYTHON) -m venv .venv-lowest
	$(TOOLS)/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct \
		-e '.[quickstart,serve]' --group test pip 'httpx>=0.27'
	touch $@

$(TOOLS)/ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv pip-audit cyclonedx-bom
	touch $@

audit: $(TOOLS)/ready ## compare the tested versions with known vulnerabilities; needs a network
	$(TOOLS)/bin/pip-audit --no-deps --disable-pip --requirement constraints.txt

sbom: $(VENV)/quickstart $(TOOLS)/ready ## list all packages with versions and licences in build/sbom.json (CycloneDX)
	mkdir -p build
	$(TOOLS)/bin/cyclonedx-py environment $(VENV) --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json

TRIALS ?= 1
SEED ?= 0
trials: $(VENV)/test ## change files at random and kill commands at file operations; TRIALS=10 for a night
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.trials --times $(TRIALS) --seed $(SEED)

soak: $(VENV)/test ## run a server for 30 minutes with injected faults; no accepted request may be lost
	$(BIN)/python -m tests.trials.soak --minutes 30

docs: $(VENV)/test ## build the documentation into build/site, without a network; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

benchmark: $(VENV)/quickstart ## compare a bundle at ViT-B size with PyTorch; writes benchmarks/results/
	$(BIN)/python -m benchmarks.deployment

lint: $(VENV)/test ## check style and import direction
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/test ## check types
	$(BIN)/mypy

format: $(VENV)/test ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and caches, but not runs and exports
	rm -rf $(VENV) .venv-lowest .venv-newest $(TOOLS) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
