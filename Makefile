# Two commands do everything on a fresh machine: `make study` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DOCS ?= .venv-docs
CPU_WHEELS := https://download.pytorch.org/whl/cpu
# PyPI's torch for Linux brings several GB of CUDA libraries, so where there is no NVIDIA driver its CPU build is taken.
# `make TORCH=locked .venv/installed` takes what requirements-torch.lock has all the same.
TORCH := $(shell [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null && echo cpu || echo locked)
REACHED := $(PYTHON) -c 'from urllib.request import urlopen; urlopen("$(CPU_WHEELS)/torch/", timeout=5)' 2>/dev/null
LOCKED := --quiet --require-hashes --no-deps --requirement

.PHONY: study test check docs dist lock test-lowest test-highest

study: $(VENV)/installed  ## train and report the default study (synthetic seven cell lines)
	$(BIN)/python studies/seven_cells.py $(ARGS)

test: check docs  ## lint, type check, build the documentation site and run the default test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

check: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The CPU build has other hashes than PyPI's: it comes from PyTorch's own index where that can be reached, else from where
# pip is told to look.
$(VENV)/installed: requirements.lock requirements-torch.lock pyproject.toml  ## all that running needs
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metaseg needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(LOCKED) requirements.lock
	if [ $(TORCH) = locked ]; then $(BIN)/pip install $(LOCKED) requirements-torch.lock; \
	elif $(REACHED); \
	then $(BIN)/pip install --quiet --no-deps --index-url $(CPU_WHEELS) $$(grep -o '^torch==[^ ]*' requirements-torch.lock); \
	else $(BIN)/pip install --quiet $$(grep -o '^torch==[^ ]*' requirements-torch.lock); fi
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/tested: $(VENV)/installed requirements-test.lock  ## what tests need besides
	$(BIN)/pip install $(LOCKED) requirements-test.lock
	touch $@

docs: $(DOCS)/installed  ## build the documentation site in build/site; links that lead nowhere are errors
	NO_MKDOCS_2_WARNING=1 PATH="$(DOCS)/bin:$$PATH" $(DOCS)/bin/mkdocs build
	@echo "the site is in build/site; to read and search it: python3 -m http.server --bind 127.0.0.1 --directory build/site"

# With --quiet, MkDocs doesn't count its warnings, and links that lead nowhere would pass. An environment of its own: the
# site is made from sources, which aren't imported.
$(DOCS)/installed: requirements-docs.lock
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install $(LOCKED) requirements-docs.lock
	touch $@

RESOLVE := .lock/bin/uv pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes \
    --constraint .lock/pins
COMPILE := $(RESOLVE) pyproject.toml
TORCHS := torch==|triton==|nvidia-|cuda-

# Packages that users may have with metaseg: the oldest that pyproject.toml allows, or the newest, each in an environment of
# its own (.venv-lowest, .venv-highest). What only tests need is the newest that goes with them.
test-lowest: RESOLUTION := lowest-direct
test-highest: RESOLUTION := highest
test-lowest test-highest: test-%:
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/pip install --quiet uv
	.venv-$*/bin/uv pip compile --quiet --no-header --no-annotate --python .venv-$*/bin/python --resolution $(RESOLUTION) \
	    --extra all --output-file .venv-$*/run pyproject.toml
	.venv-$*/bin/uv pip compile --quiet --no-header --no-annotate --python .venv-$*/bin/python \
	    --extra dev --constraint .venv-$*/run --output-file .venv-$*/all pyproject.toml
	grep -Ev '^($(TORCHS))' .venv-$*/all >.venv-$*/but-torch
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --no-deps --requirement .venv-$*/but-torch --editable .
	if $(REACHED); then .venv-$*/bin/pip install --quiet --no-deps --index-url $(CPU_WHEELS) $$(grep -o '^torch==[^ ]*' .venv-$*/all); \
	else echo 'no $(CPU_WHEELS): torch is the locked one'; \
	    .venv-$*/bin/pip install --quiet --no-deps $$(grep -o '^torch==[^ ]*' requirements-torch.lock); fi
	.venv-$*/bin/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

dist:  ## what a release uploads: dist/*.tar.gz and *.whl, checked
	$(PYTHON) -m venv --clear .venv-dist
	.venv-dist/bin/pip install --quiet build twine
	rm -rf dist
	.venv-dist/bin/python -m build --quiet
	.venv-dist/bin/twine check --strict dist/*

# uv asks PyPI alone, whatever pip is told: the hashes are PyPI's. `make lock KEEP=requirements.lock` keeps its versions.
lock:  ## resolve pyproject.toml anew and pin what came out, with hashes: to run, torch and its CUDA libraries, to test, and for the site
	$(PYTHON) -m venv --clear .lock
	.lock/bin/pip install --quiet uv
	echo torch==2.13.0 | cat - $(KEEP) | sed -n 's/^\([^ ]*==[^ ;]*\).*/\1/p' >.lock/pins
	$(COMPILE) --extra all --output-file .lock/run
	$(COMPILE) --extra dev --constraint .lock/run --output-file .lock/all
	awk '/^[a-z]/ {mine = !/^($(TORCHS))/} mine' .lock/run >requirements.lock
	awk '/^[a-z]/ {mine = /^($(TORCHS))/} mine' .lock/run >requirements-torch.lock
	awk 'NR == FNR {known[$$1]; next} /^[a-z]/ {mine = !($$1 in known)} mine' .lock/run .lock/all >requirements-test.lock
	$(RESOLVE) --group docs --output-file requirements-docs.lock
	rm -r .lock
