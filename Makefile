# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each makes its own .venv when it is missing; all are safe to repeat.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TYPED  := common data_pipeline evaluate train transformer paper_transformer benchmarks
CODE   := $(TYPED) tests docs/exercises

.DELETE_ON_ERROR:
.PHONY: help install demo test lint format clean

help:
	@echo "make demo     train a translator on the built-in corpus and look at what it does (minutes, offline)"
	@echo "make test     lint and tests"
	@echo "make lint     ruff and mypy"
	@echo "make format   let ruff rewrite the code"
	@echo "make install  only the virtual environment, .venv"
	@echo "make clean    remove .venv, caches and runs/demo"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: install
	$(BIN)/python -m train.demo

lint: install
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(TYPED)

format: install
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

test: lint
	$(BIN)/python -m pytest -n 2

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache runs/demo *.egg-info
