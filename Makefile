# Two commands do everything on a fresh machine: `make study` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' requirements.lock)
CPU_WHEELS := https://download.pytorch.org/whl/cpu

.PHONY: study test check lock

study: $(VENV)/installed  ## train and report the default study (synthetic seven cell lines)
	$(BIN)/python studies/seven_cells.py $(ARGS)

test: check  ## lint, type check and run the default test suite
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# PyPI's torch for Linux brings several GB of CUDA libraries. Without an NVIDIA driver its CPU build is installed first,
# where its index can be reached; the lock file's version is then satisfied.
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metaseg needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null && $(PYTHON) -c \
	    'from urllib.request import urlopen; urlopen("$(CPU_WHEELS)/torch/", timeout=5)' 2>/dev/null; \
	then $(BIN)/pip install --quiet --no-deps --index-url $(CPU_WHEELS) $(TORCH); fi
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

lock:  ## resolve pyproject.toml anew and pin what came out
	$(PYTHON) -m venv --clear .lock
	.lock/bin/pip install --quiet torch==2.13.0 --editable '.[dev]'
	.lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v '^nvidia-\|^triton' >requirements.lock
	rm -r .lock
