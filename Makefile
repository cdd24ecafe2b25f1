# make demo      train a small video diffusion model, look at it, score it (8 minutes on two cores)
# make lab       open the notebooks
# make test      everything that must hold
# make nbgrader  the round trip with the real nbgrader
# Each makes .venv and installs what it needs when that is missing.

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

NBVAL = MINIDIFF_PROFILE=smoke MINIDIFF_HOME=$$(mktemp -d) $(BIN)/python -m pytest \
	--nbval-lax --nbval-cell-timeout 120

test: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m minidiff.course check
	$(BIN)/python -m minidiff.course lint
	$(BIN)/python -m pytest tests
	PYTHONPATH="$(CURDIR)/tests/offline" $(NBVAL) notebooks
	MINIDIFF_STRICT=1 $(NBVAL) solutions

nbgrader:                     # optional: the round trip with the real nbgrader, in its own place
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
