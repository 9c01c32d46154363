# `make` alone says what there is. Each target sets up what it needs, in an environment of its own beside this file.
PYTHON ?= python3
# The address of an index with CPU builds of torch, if you have one: make test TORCH_INDEX=https://...
TORCH_INDEX ?=
DATA ?= digits-on-drive
# Another Python has an environment of its own: make test PYTHON=python3.13
VENV := .venv$(if $(filter-out python3 python,$(PYTHON)),-$(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])"))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Without it torch's threads and the test workers fight over the cores.
export OMP_NUM_THREADS ?= 1
# Where this is set, each of the thousands of processes that the tests start compiles all modules anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test notebooks lint format coverage mutants torture browser bench fuzz docs wheel pyz clients xla scale ray clean ready

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "make %-10s %s\n", $$1, $$2 }'

demo: ready  ## train a small network on data from a pretend Drive, and save a picture
	@$(BIN)/python examples/demo.py $(DATA)

test: ready  ## the tests, in a few minutes on two cores
	@$(BIN)/python -VV
	@# Two workers more than cores: many tests wait for a server or a process.
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not slow and not notebook" --ignore tests/clients --ignore tests/browser tests

notebooks: ready  ## the example notebooks, each from top to bottom in its stand-in, and kernels that are stopped
	$(BIN)/python -m pytest -n 2 -m notebook tests/examples tests/wholeness

lint: ready  ## what a commit must pass beside the tests: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ready  ## lay out the code, and list the modules in docs/ARCHITECTURE.md
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/list_modules.py

coverage: ready  ## lines and branches that the tests run
	$(BIN)/python -m coverage run -m pytest -m "not slow and not notebook" --ignore tests/clients --ignore tests/browser tests
	$(BIN)/python -m coverage report --skip-covered --sort cover

mutants: ready  ## put 200 mistakes into the modules behind the promises, one at a time, and print those unnoticed
	$(BIN)/python tools/mutants.py

torture: ready  ## the long tests: hundreds of kills, every write failing in turn
	$(BIN)/python -m pytest -m slow --timeout 3000 tests

browser: ready  ## notebooks in a real JupyterLab (Debian: chromium, chromium-driver); pictures in build/browser
	$(PIP) install -q jupyterlab selenium
	DATASTAGE_PICTURES=$(CURDIR)/build/browser $(BIN)/python -m pytest tests/browser

bench: ready  ## the figures of docs/PERFORMANCE.md, each beside its peers
	for script in $(filter-out benchmarks/scale%,$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python $$script || exit 1; done

fuzz: ready  ## odd archives for SECONDS seconds
	@# Guided by coverage where atheris installs; it has no wheel for some Pythons, and is done without there.
	-@$(BIN)/python -c "import atheris" 2>/dev/null || $(PIP) install -q atheris || echo "without atheris"
	$(BIN)/python tests/fuzz_archives.py --seconds $(or $(SECONDS),300)

docs: ready  ## the site, in build/site; a warning is an error
	$(PIP) install -q mkdocs-material mkdocstrings-python
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: ready  ## the wheel, in dist/
	$(BIN)/python -m build --wheel --outdir dist .

pyz: ready  ## datastage.pyz, the whole tool in one file
	$(BIN)/python tools/make_pyz.py datastage.pyz

# pip takes what installs together with the torch of the tests; what does not is left out, and said by the tests.
CLIENTS := torchmetrics accelerate transformers lightning ray[train] keras tensorflow-cpu jax skorch pytorch-ignite torchdata torch_geometric litdata webdataset datasets
clients:  ## the examples of docs/CLIENTS.md, run with the libraries that they are for
	test -d .venv-clients || $(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements-dev.txt
	-for name in $(CLIENTS); do .venv-clients/bin/python -m pip install -q $$name; done
	@# fastai asks for an older torch, and works with this one.
	-.venv-clients/bin/python -m pip install -q fastcore fastdownload fastprogress fasttransform matplotlib plum-dispatch cloudpickle
	-.venv-clients/bin/python -m pip install -q --no-deps fastai
	.venv-clients/bin/python -m pytest --timeout 900 tests/clients
	@# mosaicml-streaming asks for an older transformers than the others work with.
	test -d .venv-streaming || $(PYTHON) -m venv .venv-streaming
	.venv-streaming/bin/python -m pip install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements-dev.txt
	.venv-streaming/bin/python -m pip install -q mosaicml-streaming
	.venv-streaming/bin/python -m pytest --timeout 900 tests/clients -k "mosaicml or versions"

xla:  ## feeding beside the real torch_xla, on the CPU
	test -d .venv-xla || $(PYTHON) -m venv .venv-xla
	.venv-xla/bin/python -m pip install -q "torch==2.9.*" "torch_xla==2.9.*" numpy tqdm gdown pytest pytest-timeout
	PJRT_DEVICE=CPU .venv-xla/bin/python -m pytest --timeout 900 tests/clients -k "torch_xla or TPU"

# What each environment of a peer holds beside torch, torchvision and Pillow; a peer that does not install is left out.
SCALE := webdataset litdata mosaic ray
scale: ready  ## training from shards beside webdataset, litdata, mosaicml-streaming and ImageFolder; the model of costs
	for name in $(SCALE); do test -d .venv-scale-$$name || $(PYTHON) -m venv .venv-scale-$$name; done
	-for name in $(SCALE); do \
		case $$name in mosaic) what=mosaicml-streaming;; ray) what="ray[data] opencv-python-headless simplejpeg tqdm gdown";; *) what=$$name;; esac; \
		.venv-scale-$$name/bin/python -m pip install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0 torchvision==0.28.0 numpy pillow $$what; \
	done
	PYTHONPATH=. $(BIN)/python benchmarks/scale.py
	PYTHONPATH=. $(BIN)/python benchmarks/scale_model.py

ray:  ## packing as a Ray Data job, on two nodes of which one is killed
	test -d .venv-ray || $(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install -q "ray[data]" numpy pillow opencv-python-headless simplejpeg tqdm gdown pytest pytest-timeout
	PYTHONPATH=. .venv-ray/bin/python -m pytest --timeout 900 tests/shards/test_pack_ray.py

clean:  ## take away what was built
	rm -rf .venv .venv-* .mutants build dist demo *.egg-info datastage.pyz .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache .coverage

ready: $(VENV)/ready

$(VENV)/ready: requirements-dev.txt setup.cfg pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements-dev.txt
	@# Tests compare our reading with torchvision's where it can be had; its own requirements are met already.
	-$(PIP) install -q --no-deps torchvision==0.28.0
	@# What reads photos quickly on Colab and Kaggle, JAX, what reads HDF5 and parquet, and the clients of the Hub and of
	@# S3: the tests say what they leave out where one has no wheel.
	-for name in opencv-python-headless simplejpeg jax h5py pyarrow huggingface_hub 'moto[s3,server]'; do $(PIP) install -q $$name; done
	$(PIP) install -q --no-deps --no-build-isolation -e . || $(PIP) install -q --no-deps -e .
	@touch $(VENV)/ready
