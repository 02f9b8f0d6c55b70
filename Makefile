# make test and make demo need Python 3.11 or later, a C compiler and make; they create .venv themselves.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
CORE = $(wildcard src/fastinit/csrc/*.[ch])
ALL_C = $(CORE) $(wildcard src/fastinit/csrc/*.cu src/fastinit/csrc/nvrtc/*.h tests/cuda/host/*.[hc]* tests/*.c tests/*/*.c tools/*.c benchmarks/*.[ch])
SOURCES = pyproject.toml setup.py src/fastinit/_kernels.pyx $(wildcard src/fastinit/*.pxi) src/fastinit/_kernels.pxd src/fastinit/kernels.pxd $(CORE)

# the frameworks have an environment of their own: make test stays light
FRAMEWORKS = .venv-frameworks
# by its exact version: any other brings gigabytes of CUDA
TORCH = torch==2.13.0

.PHONY: help test test-frameworks test-frameworks-full test-cuda-host test-gpu demo lint format bench bench-full portability package sanitize fuzz pictures docs clean
help:
	@echo "make test         build into .venv and run the tests"
	@echo "make test-frameworks  install torch, JAX, Keras, Dask and what goes with them, and run the adapters' tests"
	@echo "make test-frameworks-full  record all models that it knows of transformers and timm, not a few of them"
	@echo "make test-cuda-host  the GPU's kernels on the CPU, and what NVRTC makes of them: needs g++, no GPU"
	@echo "make test-gpu     the GPU's kernels on a GPU, beside what torch and CuPy there have; says so without one"
	@echo "make demo         initialise all of TinyLlama-1.1B in one buffer"
	@echo "make bench        measure against torch, NumPy, Randompack and a constant fill, in six minutes"
	@echo "make bench-full   measure everything, also against JAX, TensorFlow and transformers"
	@echo "make portability  the golden hashes from the C core, by every compiler and emulator at hand"
	@echo "make package      source package, wheel, other builders' compilers and flags, a machine without a compiler"
	@echo "make pictures     draw the pictures of docs/why.md, and of the last benchmarks"
	@echo "make docs         the guide and the reference as a web site, in build/docs; a broken link is an error"
	@echo "make sanitize     the tests under the sanitizers for addresses, undefined behaviour, leaks and threads"
	@echo "make fuzz         the property tests with fresh examples for ten minutes; SECONDS=60 for one"
	@echo "make lint         ruff, mypy, clang-format"
	@echo "make format       let them rewrite"
	@echo "make clean        remove what these have made"
	@echo "QUICK=1 ends the benchmarks early; sanitize does a quarter then, fuzz a minute, pictures replace none,"
	@echo "        test-frameworks-full takes every twelfth model, package every third file of tests"

$(BIN)/python $(FRAMEWORKS)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(@:/bin/python=)
	$@ -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(VENV)/built: $(BIN)/python $(SOURCES)
$(FRAMEWORKS)/built: $(FRAMEWORKS)/bin/python $(SOURCES)
$(VENV)/built $(FRAMEWORKS)/built:
	$(@D)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/group-%: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

test: $(VENV)/built $(VENV)/group-test
	$(BIN)/python -m pytest -q

$(FRAMEWORKS)/group-frameworks: $(FRAMEWORKS)/bin/python pyproject.toml
	$(FRAMEWORKS)/bin/python -m pip install --quiet $(TORCH)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --group frameworks
	@touch $@

test-frameworks: $(FRAMEWORKS)/group-frameworks $(FRAMEWORKS)/built
	$(FRAMEWORKS)/bin/python -m pytest -q -W default tests_frameworks
	NEED_ALL=1 $(FRAMEWORKS)/bin/python -m pytest -q -W default tests/test_documents.py

# without what they depend on: timm asks for torchvision, and torchvision's wheel for a torch with CUDA
$(FRAMEWORKS)/timm: $(FRAMEWORKS)/bin/python
	$(FRAMEWORKS)/bin/python -m pip install --quiet --no-deps --target $@ timm==1.0.31 torchvision==0.28.0 pillow

test-frameworks-full: $(FRAMEWORKS)/group-frameworks $(FRAMEWORKS)/built $(FRAMEWORKS)/timm
	FULL=1 QUICK=$(QUICK) $(FRAMEWORKS)/bin/python -m pytest -q -W default tests_frameworks/test_recorded_models.py

# the kernels of CUDA devices by g++, and by NVRTC, which needs no GPU
test-cuda-host: $(VENV)/built $(VENV)/group-test $(VENV)/group-cuda
	$(BIN)/python -m pytest -q tests/cuda

# GPU_PYTHON=python3 where that has the torch, CuPy and JAX of the GPU; without a network see tests/gpu/run
GPU_PYTHON ?= $(BIN)/python
test-gpu: $(VENV)/built $(VENV)/group-test $(VENV)/group-cuda
	$(GPU_PYTHON) -m pytest -q -rs -W default tests/gpu
	$(GPU_PYTHON) benchmarks/gpu.py

demo: $(VENV)/built
	$(BIN)/python examples/tinyllama.py

lint: $(VENV)/built $(VENV)/group-test $(VENV)/group-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(ALL_C)

format: $(VENV)/group-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(ALL_C)

$(VENV)/torch: $(BIN)/python
	$(BIN)/python -m pip install --quiet $(TORCH)
	@touch $@

# kernels alone, against the ports; Linux on x86-64 only
KERNELS_FLAGS = -std=gnu11 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -Isrc/fastinit/csrc
AVX2 = -mavx2 -mfma -mf16c -mprfchw
$(VENV)/words $(VENV)/kernels: $(VENV)/%: benchmarks/%.c benchmarks/clock.h $(CORE)
	$(CC) $(KERNELS_FLAGS) $(AVX2) -c src/fastinit/csrc/isa_avx2.c -o $@-avx2.o
	$(CC) $(KERNELS_FLAGS) $(AVX2) -mavx512f -mavx512dq -mavx512bw -mavx512vl -c src/fastinit/csrc/isa_avx512.c -o $@-avx512.o
	$(CC) $(KERNELS_FLAGS) -DFI_HAVE_AVX2 -DFI_HAVE_AVX512 $< $@-avx2.o $@-avx512.o \
	    $(addprefix src/fastinit/csrc/,isa_base.c prepare.c tiles.c parallel.c team.c dispatch.c) -o $@ -lm -lpthread
KERNELS = if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(MAKE) -s $(VENV)/words $(VENV)/kernels && $(VENV)/words && $(VENV)/kernels; fi

BENCH = -m pytest benchmarks -q -W default --benchmark-disable-gc --benchmark-columns=median --benchmark-quiet
bench: $(VENV)/built $(VENV)/group-bench $(VENV)/torch
	$(KERNELS)
	$(BIN)/python $(BENCH)

$(FRAMEWORKS)/group-bench: $(FRAMEWORKS)/group-frameworks
	$(FRAMEWORKS)/bin/python -m pip install --quiet --group bench
	@touch $@

bench-full: $(FRAMEWORKS)/group-bench $(FRAMEWORKS)/built $(BIN)/python
	$(KERNELS)
	FULL=1 $(FRAMEWORKS)/bin/python $(BENCH)

pictures: $(VENV)/built $(VENV)/group-test
	$(BIN)/python tools/why.py
	$(BIN)/python benchmarks/plot.py

# -W: warnings are errors; all anew, because pages of an earlier call warn no more
docs: $(VENV)/built $(VENV)/group-docs
	rm -rf build/docs build/doctrees docs/api/generated
	$(BIN)/sphinx-build -W --keep-going -q -j auto -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html is made"

portability:
	tests/portability/run

sanitize: $(VENV)/built $(VENV)/group-test
	tests/sanitizers/run

SECONDS ?= $(if $(QUICK),60,600)
fuzz: $(VENV)/built $(VENV)/group-test
	$(BIN)/python tests/fuzzing.py $(SECONDS)

package:
	PYTHON="$(PYTHON)" tests/packaging/run

clean:
	rm -rf $(VENV) $(FRAMEWORKS) build dist docs/api/generated src/*.egg-info src/fastinit/*.so src/fastinit/_kernels.c tools/sweep
	find . -name __pycache__ -prune -exec rm -rf {} +
