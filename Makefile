# Two commands for a fresh machine: `make demo` and `make test`. Both build .venv themselves, and need the
# network only the first time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
OUT ?= onnxplain-demo
CASES ?= 2000
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo install test test-networks test-openvino test-programs test-report fuzz check format docs clean
.PHONY: test-kills test-ray test-references test-s3 bench bench-peers bench-report bench-rise bench-augmented
.PHONY: bench-black-boxes bench-methods

help:
	@echo "make demo     run the shipped localizer and detector on a few images and draw what they see and why"
	@echo "make test     install everything the tests need and run them all"
	@echo "make test-networks  compare the gradients of whole networks with PyTorch's (two hours)"
	@echo "make test-openvino  run explainable files on ONNX Runtime's OpenVINO provider, in an environment of its own"
	@echo "make test-references  compare methods with captum, lime, shap, Xplique and grad-cam, installed on first use (10 minutes)"
	@echo "make test-programs  install onnxruntime-web and run the programs of docs/contract_programs.md"
	@echo "make test-report  install what headless Chromium needs, as far as that can be done, and open reports in it"
	@echo "make test-ray  install Ray and run batches on a local one, with kills (minutes)"
	@echo "make test-s3  install moto, an S3-compatible server, and run batches on it while it fails (a minute)"
	@echo "make fuzz     run commands on 2,000 damaged files and arguments, and count what goes wrong (minutes)"
	@echo "make test-kills  kill commands, press Ctrl-C and start two writers at random moments (half an hour)"
	@echo "make check    lint, formatting, types, import direction"
	@echo "make format   rewrite the code in the project's format"
	@echo "make docs     write docs/commands.md from the commands"
	@echo "make bench    measure every case beside raw ONNX Runtime (15 minutes)"
	@echo "make bench-peers  the same beside PyTorch and the other toolkits, each installed on first use (an hour)"
	@echo "make bench-report  write docs/benchmarks.md, its pictures and the README's table from what was measured"
	@echo "make bench-rise  compare RISE's estimators at equal numbers of evaluations (20 minutes)"
	@echo "make bench-methods  compare all explanation methods at equal numbers of evaluations (hours; it can be stopped)"
	@echo "make bench-augmented  measure what Augmented Grad-CAM costs beside the network (minutes)"
	@echo "make bench-black-boxes  measure what black boxes cost beside the network's forward passes (10 minutes)"
	@echo "make clean    remove .venv and everything generated"

demo: $(VENV)/.core
	@$(BIN)/onnxplain demo -o "$(OUT)"

install: $(VENV)/.dev

# One process per core, at most four: each holds its own copies of the test models.
test: install
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-networks: install
	@$(BIN)/python -m pytest -m networks tests/networks tests/detectors

# 2,000 damaged models, metadata, images, annotations and arguments. SEED=5000 for others.
fuzz: install
	@$(BIN)/python -m tests.fuzz --cases $(CASES) --seed $(SEED)

# The OpenVINO build cannot stand beside onnxruntime: it gets the benchmarks' environment.
test-openvino: install
	@$(BIN)/python -m benchmarks peers --install onnxplain-openvino
	@$(BIN)/python -m pytest -m openvino tests/openvino

# 6 GB. A library that cannot be installed is skipped, with the reason.
test-references: install
	@$(BIN)/python -m benchmarks peers --install captum dianna xplique grad-cam || true
	@$(BIN)/python -m pytest -rs -s -m references tests/references

# Needs npm. C is compiled where ONNXRUNTIME_INCLUDE names the folder of onnxruntime_c_api.h.
test-programs: install
	@npm install --silent --no-audit --no-fund --prefix build/js onnxruntime-web@1.30.0
	@$(BIN)/python -m pytest -rs tests/test_contract_programs.py

test-kills: install
	@$(BIN)/python -m tools.kills

# 80 MB. Ray does not start on a machine that is busy with other work: the tests are then skipped, with the reason.
test-ray: install
	@$(PIP) install --constraint constraints.txt "ray>=2.40"
	@$(BIN)/python -m pytest -rs -m ray tests/batch/test_ray.py

test-s3: install
	@$(PIP) install --constraint constraints.txt "moto[server]>=5"
	@$(BIN)/python -m pytest -rs -m s3 tests/batch/test_s3.py

# Needs npm and Chromium: installed here if this is Debian and you are root. CHROMIUM names another program.
test-report: install
	@.ci/browser
	@$(BIN)/python -m pytest -rs tests/report

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: install
	@$(BIN)/python -m tools.commands_page

# An interrupted run goes on behind what it has measured; BENCH="--quick" only tries everything.
bench: install
	@$(BIN)/python -m benchmarks run --tool onnxplain --tool floor $(BENCH)

bench-peers: install
	@$(BIN)/python -m benchmarks peers --install
	@$(BIN)/python -m benchmarks run $(BENCH)

bench-report: install
	@$(BIN)/python -m benchmarks report

bench-rise: install
	@$(BIN)/python -m benchmarks.studies.rise_quality

# An interrupted run goes on behind what it has measured. METHODS="--only rise lime --minutes 30" measures a part.
bench-methods: install
	@$(BIN)/python -m benchmarks.studies.methods $(METHODS)
	@$(BIN)/python -m benchmarks.studies.methods --write

bench-augmented: install
	@$(BIN)/python -m benchmarks.studies.augmented

bench-black-boxes: install
	@$(BIN)/python -m benchmarks.studies.black_boxes --evaluations 1000

clean:
	rm -rf $(VENV) onnxplain-demo explanations build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit( \
		"found Python %d.%d, expected 3.11 or newer: run make PYTHON=python3.12" % v); v <= (3, 13) or sys.stdout.write( \
		"note: found Python %d.%d, which is not tested here: 3.11 to 3.13 are\n" % v)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --upgrade pip
	@touch $@

$(VENV)/.core: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing the core and ONNX Runtime into $(VENV)"
	@$(PIP) install --constraint constraints.txt --editable ".[cpu]"
	@touch $@

# torch comes first and pinned: a range, or plain torch, would bring gigabytes of CUDA packages.
$(VENV)/.dev: $(VENV)/.core
	@echo "installing what tests and development need into $(VENV)"
	@$(PIP) install --constraint constraints.txt torch==2.13.0
	@$(PIP) install --constraint constraints.txt --editable ".[cpu,train,batch,report,metrics]" --group dev
	@touch $@
