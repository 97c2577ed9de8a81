# make train    train MNIST            make test        all tests
# make check    format, lint, types    make test-peers  the same in PyTorch, scikit-learn and here
# make benchmark                       make docs     the pages of docs/learn anew
# make coverage   lines that no test runs      make oldest   the tests with the oldest releases allowed
# make test-exports   models in the oldest and the newest onnxruntime
# make soak     the tests that take minutes: long runs, large files, many mutations
# make notebook   opens a copy of the tour in JupyterLab
# make clean
# Each target makes what it needs: a virtual environment in .venv with this checkout and its dependencies.

PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
ONNX_OLDEST := .venv-onnxruntime-1.20
ONNX_NEWEST := .venv-onnxruntime-newest
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: train test check test-peers test-exports benchmark docs notebook format coverage oldest soak clean

train: $(VENV)/.core
	@$(BIN)/python scripts/train.py --validation 0.1

# Some tests start a process, hundreds in all. Where the environment says that none may keep the bytecode of what it
# imports, each compiles the package anew, in half a second.
test soak test-peers test-exports check: export PYTHONDONTWRITEBYTECODE :=

# On several cores several processes share the tests, a file at a time; `pytest` alone runs them in one.
test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# One after the other: they measure memory, threads and files of a whole machine. -s: their figures are to be read.
soak: $(VENV)/.test
	$(BIN)/python -m pytest tests/soak -s --durations=0

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_imports.py tests/test_budget.py

test-peers: $(VENV)/.test $(VENV)/.peers
	$(BIN)/python -m pytest tests/test_peers*.py

# Models in ONNX, in an onnxruntime of two years ago and in the newest; each says at its end which it was.
test-exports: $(ONNX_OLDEST)/.installed $(ONNX_NEWEST)/.installed
	$(ONNX_OLDEST)/bin/python -m pytest tests/exports
	$(ONNX_NEWEST)/bin/python -m pytest tests/exports

benchmark: $(VENV)/.peers $(VENV)/.bench
	$(BIN)/python scripts/benchmark.py

docs: $(VENV)/.core
	$(BIN)/python scripts/rooms.py
	$(BIN)/python scripts/docs.py

# A copy: Jupyter writes what a cell prints into the file that it opens, and the tour holds no output.
notebook: $(VENV)/.notebook runs/tour.ipynb
	$(BIN)/python -m jupyterlab runs/tour.ipynb

runs/tour.ipynb: notebooks/tour.ipynb
	@mkdir -p runs
	@cp notebooks/tour.ipynb runs/tour.ipynb

# Jitted code runs as machine code, which a line counter does not see; the kernels have twins instead.
coverage: $(VENV)/.coverage
	$(BIN)/python -m coverage run --source=fastmlp --omit='fastmlp/kernels/*' -m pytest
	$(BIN)/python -m coverage report --skip-covered --show-missing

oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fastmlp needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.notebook: $(VENV)/.core
	@$(PIP) --editable '.[notebook]'
	@touch $@

$(VENV)/.check: $(VENV)/.test
	@$(PIP) --editable '.[check]'
	@touch $@

# PyTorch's CPU build is enough; the releases are those that docs/peers.md speaks of.
$(VENV)/.peers: $(VENV)/.core Makefile
	@$(PIP) 'torch==2.13.0' 'scikit-learn==1.9.1' 'jax==0.10.2' 'optax==0.2.8' 'flax==0.12.8' 'keras==3.15.1'
	@touch $@

$(VENV)/.bench: $(VENV)/.peers
	@$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.coverage: $(VENV)/.test
	@$(PIP) 'coverage>=7.6'
	@touch $@

ONNX_TESTS := 'pytest>=8' 'hypothesis>=6.100' 'pandas>=2.2'

$(OLDEST)/.installed: pyproject.toml scripts/oldest.py
	@$(PYTHON) -m venv $(OLDEST)
	@$(PYTHON) scripts/oldest.py > $(OLDEST)/pins.txt
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(OLDEST)/pins.txt --editable '.[test]'
	@touch $@

$(ONNX_OLDEST)/.installed: pyproject.toml Makefile
	@$(PYTHON) -m venv $(ONNX_OLDEST)
	@$(ONNX_OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --editable . $(ONNX_TESTS) \
	  'onnxruntime==1.20.0' 'onnx==1.17.0'
	@touch $@

$(ONNX_NEWEST)/.installed: pyproject.toml Makefile
	@$(PYTHON) -m venv $(ONNX_NEWEST)
	@$(ONNX_NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --editable . \
	  $(ONNX_TESTS) onnxruntime onnx
	@touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(ONNX_OLDEST) $(ONNX_NEWEST) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
