PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Versions that the whole suite passed with. Install the newest versions instead: make test CONSTRAINTS=
CONSTRAINTS ?= -c constraints.txt

.PHONY: quickstart tour test test-slow docs benchmark lint types format clean help

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
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
