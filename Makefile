# make demo | test | lint | page | notebook | bench | accuracy | soak | attack | slurm | stack-smoke | cluster | requirements | audit | clean
#
# PYTHON       the interpreter that makes .venv (3.11 or newer)
# TORCH_INDEX  where torch comes from; empty: pip's own index. For a CPU-only or a CUDA build: the
#              index address that PyTorch's installation page names for your system
# PROCESSES    how many the tests run in (2)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
QUIET := --quiet --root-user-action=ignore --progress-bar off

.DEFAULT_GOAL := help
.PHONY: help demo test lint page notebook format bench accuracy soak attack slurm stack-smoke cluster requirements audit clean rabbitmq

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

# ---- set-up: made again when the requirements change
$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no python3.11 found: apt-get install python3.11 python3.11-venv, or make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "cannot make a virtual environment: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV) (some minutes the first time)"
	@$(if $(TORCH_INDEX),$(PIP) install $(QUIET) -c constraints.txt --index-url $(TORCH_INDEX) torch)
	@$(PIP) install $(QUIET) -c constraints.txt -e ".[dev]"
	@touch $@

rabbitmq:
	@.ci/rabbitmq

# ---- what a newcomer runs
demo: $(VENV)/installed
	@.ci/demo $(BIN)

# ---- what a developer runs
test: $(VENV)/installed rabbitmq
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses $(PROCESSES) --dist loadscope --cov --cov-report=term $(PYTEST)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy shared services
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive shared services deploy
	$(BIN)/hadolint docker/Dockerfile deploy/rabbitmq/Dockerfile.debian
	$(BIN)/yamllint --strict deploy charts

# The page of `covaria view`, the part of report.html that moves and the notebook's widget, from one TypeScript source;
# needs Node.js 20 or newer. The built files are committed.
page:
	cd shared/covaria/view/page && npm ci --no-audit --no-fund && npm run build

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the guide's notebook in a kernel of its own
notebook: $(VENV)/installed
	@mkdir -p build/notebook && cp docs/guide/python.ipynb build/notebook
	cd build/notebook && rm -rf out set && $(abspath $(BIN))/jupyter-execute python.ipynb

# the guide as a site, in build/site; a broken link fails
site: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/installed
	@for file in bench/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

accuracy: $(VENV)/installed
	$(BIN)/python bench/accuracy.py --images 4000 --snr 0.05
	$(BIN)/python bench/accuracy.py --rows every

soak: $(VENV)/installed rabbitmq
	$(BIN)/python -m pytest -m slow --timeout 3600 $(PYTEST)

attack: $(VENV)/installed rabbitmq
	$(BIN)/python -m pytest tests/hostile --timeout 3600 $(PYTEST)

# needs Debian's slurm-wlm, and root; without them its tests say so
slurm: $(VENV)/installed rabbitmq
	$(BIN)/python -m pytest -m slow tests/slurm $(PYTEST)

stack-smoke: $(VENV)/installed
	deploy/smoke

# CLUSTER: options of deploy/cluster.py, --context say
cluster: $(VENV)/installed
	$(BIN)/python deploy/cluster.py $(CLUSTER)

requirements: $(VENV)/installed
	$(BIN)/python docker/lock.py

# asks PyPI for the known vulnerabilities of every pinned package of the images
audit: $(VENV)/installed
	@$(PIP) install $(QUIET) pip-audit==2.10.1
	$(BIN)/python -m pip_audit --require-hashes --disable-pip --strict $(patsubst %,-r %,$(wildcard docker/requirements/*.txt))

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find shared services tests -name __pycache__ -type d -prune -exec rm -rf {} +
	find shared services -name '*.egg-info' -type d -prune -exec rm -rf {} +
