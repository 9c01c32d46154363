# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3
# The address of an index with CPU builds of torch, if you have one: make test TORCH_INDEX=https://...
TORCH_INDEX ?=
DATA ?= digits-on-drive
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Without it torch's threads and the test workers fight over the cores.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint format torture bench fuzz wheel pyz clean ready

demo: ready
	@$(BIN)/python examples/demo.py $(DATA)

test: ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" tests

lint: ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The long forms: hundreds of kills, every write failing in turn.
torture: ready
	$(BIN)/python -m pytest -m slow --timeout 3000 tests

bench: ready
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

fuzz: ready
	@# Guided by coverage where atheris installs; it has no wheel for some Pythons, and is done without there.
	-@$(BIN)/python -c "import atheris" 2>/dev/null || $(PIP) install -q atheris || echo "without atheris"
	$(BIN)/python tests/fuzz_archives.py --seconds $(or $(SECONDS),300)

wheel: ready
	$(BIN)/python -m build --wheel --outdir dist .

pyz: ready
	$(BIN)/python tools/make_pyz.py datastage.pyz

ready: .venv/ready

.venv/ready: requirements-dev.txt setup.cfg pyproject.toml Makefile
	$(PYTHON) -m venv .venv
	$(PIP) install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements-dev.txt
	@# Tests compare our reading with torchvision's where it can be had; its own requirements are met already.
	-$(PIP) install -q --no-deps torchvision==0.28.0
	@# What reads photos quickly on Colab and Kaggle, and JAX: the tests say what they leave out where one has no wheel.
	-for name in opencv-python-headless simplejpeg jax; do $(PIP) install -q $$name; done
	$(PIP) install -q --no-deps --no-build-isolation -e . || $(PIP) install -q --no-deps -e .
	@touch .venv/ready

clean:
	rm -rf .venv build dist demo *.egg-info datastage.pyz .mypy_cache .ruff_cache .import_linter_cache .hypothesis
