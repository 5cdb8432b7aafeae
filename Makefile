# Every target makes what it needs in .venv; a stamp file per extra keeps the second
# call quick, and a change of pyproject.toml installs again.

PYTHON ?= python3
# Python compiles modules when they are first imported, and most never are. It must write
# them, or each process compiles them again.
INSTALL := pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-oldest test-dask test-spark test-processors lint format docs dist benchmark clean
# Two installs into one environment must not run at the same time.
.NOTPARALLEL:

demo: $(VENV)/.installed-examples
	MPLBACKEND=Agg $(BIN)/python examples/plot_predict_repurchase.py

# Two workers with one thread each are faster than two workers with all threads each.
test: $(VENV)/.installed-tests
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n 2

# With the oldest versions that pyproject.toml allows, in a separate environment. Without
# the tests of the pages, because their code takes several minutes.
test-oldest: .venv-oldest/.installed
	OMP_NUM_THREADS=1 MPLBACKEND=Agg .venv-oldest/bin/python -m pytest -n 2 \
		--ignore-glob='tests/test_docs_*'

# In a separate environment, so that all other tests run without Dask.
test-dask: .venv-dask/.installed
	OMP_NUM_THREADS=1 .venv-dask/bin/python -m pytest tests/test_dask.py

.venv-dask/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-dask
	.venv-dask/bin/python -m $(INSTALL) --editable '.[dask,tests]'
	touch $@

# Spark needs Java. Without it, the tests are skipped with a message.
test-spark: .venv-spark/.installed
	OMP_NUM_THREADS=1 .venv-spark/bin/python -m pytest tests/test_spark*.py

.venv-spark/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-spark
	.venv-spark/bin/python -m $(INSTALL) --editable '.[spark,tests]' \
		'pandas<3'
	touch $@

# The tests that compute with networks, with the kernels of older processors. torch and
# oneDNN choose their kernels separately. A setting above what the processor supports has
# no effect.
PROCESSORS := ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 \
	ONEDNN_MAX_CPU_ISA=SSE41 ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX512_CORE
NETWORK_TESTS := tests/_recurrent tests/neural_network tests/distributed tests/event_model \
	tests/serving tests/preprocessing tests/testing \
	tests/test_common.py tests/test_integration.py

test-processors: $(PROCESSORS:%=test-with-%)

test-with-%: $(VENV)/.installed-tests
	$* OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n 2 $(NETWORK_TESTS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/mypy --strict --follow-imports=silent tools/typed_user.py
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python tools/check_docstrings.py

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All code of the pages and examples runs; SEQCRM_DOCS_RUN=0 shows it without running it.
# SEQCRM_DOCS_ONLINE=1 also links to the documentation of other libraries.
docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# A wheel and an sdist, each installed into a new environment and used there.
dist: $(VENV)/.installed-dist
	rm -rf dist build
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tools/smoke_test.py dist/*

# All benchmarks take forty minutes, and write docs/benchmark_results.
benchmark: $(VENV)/.installed-benchmarks
	-$(MAKE) .venv-lifestream/.installed
	MPLBACKEND=Agg $(BIN)/python benchmarks/run_all.py

# pytorch-lifestream needs other versions of its dependencies than this package. The
# benchmarks leave it out if this environment is missing.
.venv-lifestream/.installed:
	$(PYTHON) -m venv .venv-lifestream
	.venv-lifestream/bin/python -m $(INSTALL) pytorch-lifestream==0.6.0
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-dask .venv-spark .venv-lifestream build dist *.egg-info \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		demo_output examples/demo_output docs/_build docs/auto_examples docs/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed-%: pyproject.toml | $(VENV)/.created
	$(BIN)/python -m $(INSTALL) --editable '.[$*]'
	touch $@

.venv-oldest/.installed: pyproject.toml tools/oldest_versions.py
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) tools/oldest_versions.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m $(INSTALL) --editable '.[tests]' \
		--constraint .venv-oldest/constraints.txt
	touch $@
