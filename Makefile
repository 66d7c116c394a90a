# Two commands: `make demo` and `make test`. Then `make ui`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A CPU build of torch, where the default index gives a CUDA one: make demo PIP_OPTIONS="--extra-index-url <index>"
PIP_OPTIONS ?=
# Where the demo keeps everything. Your own files get a home, and a key, of their own.
DEMO_HOME := $(if $(IMAGES),.medillus/own,.medillus/demo)
export PYTHONWARNINGS ?= ignore

.PHONY: demo ui test test-slow lint types layers definitions install clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'
	touch $@

install: $(VENV)/.installed

demo: install
	MEDILLUS_HOME=$${MEDILLUS_HOME:-$(DEMO_HOME)} MEDILLUS_PROFILE=$${MEDILLUS_PROFILE:-demo} \
	$(BIN)/medillus demo $(if $(IMAGES),--images "$(IMAGES)") $(if $(ANNOTATIONS),--annotations "$(ANNOTATIONS)")

ui: install
	MEDILLUS_HOME=$${MEDILLUS_HOME:-$(DEMO_HOME)} MEDILLUS_PROFILE=$${MEDILLUS_PROFILE:-demo} $(BIN)/medillus ui

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/pyright

layers: install
	$(BIN)/lint-imports

definitions: install
	$(BIN)/dg check defs
	$(BIN)/dagster definitions validate

clean:
	rm -rf .medillus
