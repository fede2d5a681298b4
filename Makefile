# `make demo` and `make test` do all the set-up on a fresh machine: they create .venv if it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TYPED  := common data_pipeline evaluate train serve transformer paper_transformer benchmarks
CODE   := $(TYPED) tests docs

.DELETE_ON_ERROR:
.PHONY: help install demo test lint format docs clean

help:
	@echo "make demo     train a translator on the built-in corpus and translate with it (offline, 5 minutes on 2 CPU cores)"
	@echo "make test     run ruff, mypy and the tests (10 minutes on 2 CPU cores)"
	@echo "make lint     run ruff and mypy"
	@echo "make format   rewrite the code in the style that ruff checks"
	@echo "make install  create the virtual environment .venv"
	@echo "make docs     build the manual as a web site in build/site"
	@echo "make clean    remove .venv, caches, build/ and runs/demo"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: this project needs Python 3.11 or newer. Give one: make install PYTHON=python3.12"; exit 2; }
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

docs: install
	$(BIN)/python -m docs.build_site

clean:
	rm -rf $(VENV) .cache build .mypy_cache .ruff_cache .pytest_cache runs/demo *.egg-info
