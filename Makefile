# make demo      train a small video diffusion model, sample from it, score it (8 minutes, two cores)
# make lab       open the notebooks
# make test      run all checks: style, tests, and every chapter unsolved and solved
# make nbgrader  test the course with the real nbgrader
# make clean     remove what the other commands made
# demo, lab and test make a virtual environment in .venv and install what is missing there.

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo lab test nbgrader clean

demo: $(VENV)/.plots
	$(BIN)/python -m minidiff demo

lab: $(VENV)/.course
	$(BIN)/python -m jupyterlab notebooks

# processes with one thread each, one more than there are cores, because some tests wait; at most five
PROCESSES := $(shell $(PYTHON) -c "import os; print(min(5, (os.cpu_count() or 1) + 1))")
PARALLEL = --numprocesses $(PROCESSES) --dist

NBVAL = OMP_NUM_THREADS=1 MINIDIFF_PROFILE=smoke MINIDIFF_HOME=$$(mktemp -d) \
	$(BIN)/python -m pytest $(PARALLEL) loadfile --nbval-lax --nbval-cell-timeout 600

test: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m minidiff.course check
	$(BIN)/python -m minidiff.course lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) worksteal tests
	PYTHONPATH="$(CURDIR)/tests/offline" $(NBVAL) notebooks
	MINIDIFF_STRICT=1 $(NBVAL) solutions

nbgrader:                     # optional: in a virtual environment of its own
	$(PYTHON) -m venv .venv-nbgrader
	.venv-nbgrader/bin/python -m pip install --quiet --constraint constraints.txt \
		--editable ".[course]" pytest nbgrader==0.9.6
	.venv-nbgrader/bin/python -m pytest tests/course/test_authoring.py -k nbgrader

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) demo runs build *.egg-info
