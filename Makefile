# Each target sets up what it needs in .venv.
PYTHON ?= python3.11
BIN := .venv/bin
CHROMIUM_NAMES := chromium chromium-browser google-chrome

.PHONY: demo test lint docs bench dist clean setup browser

demo: setup browser
	$(BIN)/tfpipe run --config configs/student.yaml
	@echo "Open the page: $(BIN)/python -m http.server --directory exported/student 8000, then http://localhost:8000"

# Three processes: much of a test is TensorFlow tracing graphs, on one core, or waiting for a browser. Which tests stay
# together, tests/conftest.py says; they keep their order: by default the smallest groups, the slowest, would come last.
test: setup browser
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A link that leads nowhere fails. Not with --quiet: mkdocs counts the warnings that it logs. The variable hides that the
# theme's support ends in May 2027.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python -m benchmarks

dist: setup
	rm -rf dist
	$(BIN)/python -m build --no-isolation

setup: .venv/installed

.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

browser:
	@for name in $(CHROMIUM_NAMES); do command -v $$name >/dev/null && exit 0; done; \
	if command -v apt-get >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -qq -y chromium; \
	  else sudo apt-get update -qq && sudo apt-get install -qq -y chromium; fi \
	else echo "No Chromium here: 'tfpipe verify' and the browser tests need one."; fi

clean:
	rm -rf .venv runs exported/*/ data/*/ site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
