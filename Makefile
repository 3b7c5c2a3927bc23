# Every target sets itself up in .venv when it must; nothing else is to be installed by hand.
PYTHON ?= python3
# Processes of one thread each: two of them on two cores are quicker than one of two threads.
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TOKENIZERS_PARALLELISM := false
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: case-study demo test book docs wheel lab benchmark lint clean

# Not compiled at once: a module is compiled when it is first imported, and most of them never are.
$(VENV)/.ready: requirements.lock settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Use make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

case-study: $(VENV)/.ready
	$(BIN)/llmrec case-study --out out

demo: $(VENV)/.ready
	$(BIN)/llmrec serve --demo out/demo

test: lint
	$(BIN)/python tests/check_notebooks.py
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers $(JOBS) --do_print --skip_file_re '^([_.]|index)'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder tests

lint: $(VENV)/.ready
	$(BIN)/ruff check nbs tests benchmarks docs setup.py
	$(BIN)/ruff format --check nbs tests benchmarks docs setup.py

book: $(VENV)/.ready
	$(BIN)/python tests/run_book.py
	$(BIN)/nbdev_clean
	$(BIN)/python docs/readme.py --write

docs: $(VENV)/.ready
	$(BIN)/python docs/build.py

wheel: $(VENV)/.ready
	$(BIN)/python tests/try_wheel.py

lab: $(VENV)/.ready
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) nbs/index.ipynb

benchmark: $(VENV)/.ready
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/run.py --dataset complete-journey
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/stream.py
	$(BIN)/python benchmarks/labels.py
	$(BIN)/python benchmarks/transfer.py
	$(BIN)/python benchmarks/languages.py
	$(BIN)/python benchmarks/agreement.py
	$(BIN)/python benchmarks/repeats.py
	$(BIN)/python benchmarks/doors.py
	$(BIN)/python benchmarks/private.py
	$(BIN)/python benchmarks/likes.py --seeds 3
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/serving.py

clean:
	rm -rf $(VENV) _proc _docs out build *.egg-info
