# Everything runs in a virtual environment that the first command makes; only python3 and make are needed beforehand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

EXPORT := .venv-export
LOWEST := .venv-lowest

MINUTES ?= 60

.PHONY: demo test test-export lower-bounds quick fuzz lint docs clean

demo: $(VENV)/.train  ## distil a student on synthetic faces from scratch, fine-tune a bundled one, and show what they do
	rm -rf demo
	$(BIN)/facekd prepare synthetic demo/synthetic.parquet --count 1200 --size 160
	$(BIN)/facekd inspect demo/synthetic.parquet --out demo/inspect
	$(BIN)/facekd distill demo --data demo/synthetic.parquet --out demo/run
	$(BIN)/facekd export demo/run demo/student.onnx
	$(BIN)/facekd evaluate demo/student.onnx demo/synthetic.parquet
	$(BIN)/facekd detect demo/student.onnx src/facekd/weights/sample.jpg --out demo/found --draw
	@echo
	@echo "Look at demo/found/sample.landmarks.jpg, demo/run/report/index.html, demo/run/tolerant/shape.png and demo/inspect/."

test: $(VENV)/.dev  ## lint, types, import contract and all tests
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-export: $(EXPORT)/.done  ## export to LiteRT and Core ML, in an environment of its own, for the converters hold torch back
	$(EXPORT)/bin/python -m pytest tests/exporters tests/runtime/test_litert.py

# The tests' tools are at their newest; onnx writes the tiny networks of tests.
lower-bounds: $(LOWEST)/.done  ## detection with the oldest base dependencies that pyproject.toml allows, without torch
	$(LOWEST)/bin/facekd demo --out $(LOWEST)/demo
	$(LOWEST)/bin/python -c "import importlib.util; assert importlib.util.find_spec('torch') is None"
	PYTHONPATH=tests $(LOWEST)/bin/python -m pytest -q tests/runtime tests/test_geometry.py tests/test_markup.py \
		tests/test_pts.py tests/test_drawing.py tests/test_files.py tests/test_images.py

quick: $(VENV)/.dev  ## the tests that take little: under a minute in all
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

fuzz: $(VENV)/.dev  ## damaged files of every kind for an hour (MINUTES=60); those that are faults are kept in fuzz-faults/
	$(BIN)/python tests/fuzz/run_fuzz.py --minutes $(MINUTES) --out docs/benchmarks

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.docs  ## the documentation as a site, in site/, with the browser's demo where npm is there; a dead link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	if command -v npm > /dev/null; then \
		(cd js && npm ci --no-audit --no-fund --loglevel=error && npm run build) && cp -R js/demo js/dist site/; \
	fi

$(VENV)/.train: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.train

$(VENV)/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@

$(EXPORT)/.done: pyproject.toml
	test -x $(EXPORT)/bin/python || $(PYTHON) -m venv $(EXPORT)
	$(EXPORT)/bin/pip install --quiet --editable '.[export]' pytest hypothesis
	touch $@

$(LOWEST)/.done: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PYTHON) tests/lower_bounds.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/pip install --quiet --constraint $(LOWEST)/lowest.txt --editable . pytest hypothesis onnx
	touch $@

clean:
	rm -rf $(VENV) $(EXPORT) $(LOWEST) demo site build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis fuzz-faults
