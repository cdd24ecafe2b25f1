# make demo    train a small video diffusion model, look at it, score it (8 minutes on two cores)
# make lab     open the notebooks
# make test    everything that must hold
# Each makes .venv and installs what it needs when that is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo lab test clean

demo: $(VENV)/.plots
	$(BIN)/python -m minidiff demo

lab: $(VENV)/.course
	$(BIN)/python -m jupyterlab notebooks

test: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest tests
	MINIDIFF_PROFILE=smoke $(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout 120 notebooks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) demo runs build *.egg-info
