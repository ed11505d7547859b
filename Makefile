# Spout's commands: `make` lists them. Each one first sees to the environment in .venv by itself.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-development setup-benchmarks opendr quickstart test lint results benchmarks kill-campaign clean

PY := .venv/bin/python
# One test process for each core, but no more than 8, nor than there is memory for (TensorFlow takes its gigabyte).
WORKERS ?= $(shell { echo 8; getconf _NPROCESSORS_ONLN; nproc; \
    awk '/MemAvailable/ { print int($$2 / 1500000) + ($$2 < 1500000) }' /proc/meminfo; } 2>/dev/null | sort -n | head -n 1)

# OpenDR cannot be had everywhere, and without it our own renderer serves: it is tried once for each environment.
WANTED_FOR_OPENDR = cat requirements-opendr.txt .venv/installed-requirements.txt
TRY_OPENDR = [ "$(SPOUT_OPENDR)" = 0 ] || $(WANTED_FOR_OPENDR) | cmp -s - .venv/opendr-tried || { \
    $(PY) -m teapot_renderer.install_opendr --optional </dev/null && $(WANTED_FOR_OPENDR) >.venv/opendr-tried; }

# 0 all, 1 no notes, 2 no warnings, 3 no errors: a machine without a GPU counts as an error.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export KERAS_BACKEND := tensorflow
# Matplotlib writes its list of fonts somewhere; the home folder may be read-only.
export MPLCONFIGDIR ?= $(CURDIR)/.venv/matplotlib
# What a user has installed or configured elsewhere must not reach into .venv.
export PYTHONNOUSERSITE := 1
export PIP_USER := 0

## help: this list
help:
	@echo 'make TARGET [PYTHON=/path/to/python3.11] [SPOUT_GPU=0|1] [SPOUT_OPENDR=0|1] [WORKERS=n]'
	@echo
	@sed -n 's/^## \([a-z-]*\): /\1|/p' Makefile | while IFS='|' read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'PYTHON     the interpreter for .venv: 3.10, 3.11 or 3.12 (default: the first one found)'
	@echo 'SPOUT_GPU  1 installs the CUDA libraries, 0 does not (default: 1 where there is an NVIDIA GPU)'
	@echo 'SPOUT_OPENDR  0 does not try to build OpenDR (default: setup tries it once)'
	@echo 'WORKERS    test processes (default here: $(WORKERS))'

## setup: make the environment .venv from requirements.txt (every other target does so by itself)
setup:
	@sh -c "$$SPOUT_ENVIRONMENT" sh requirements.txt
	@$(TRY_OPENDR)

setup-development:
	@sh -c "$$SPOUT_ENVIRONMENT" sh requirements-development.txt
	@$(TRY_OPENDR)

setup-benchmarks:
	@sh -c "$$SPOUT_ENVIRONMENT" sh requirements-benchmarks.txt
	@$(TRY_OPENDR)

## opendr: build OpenDR, the reference renderer of the teapots, into .venv (setup has tried it once)
opendr: setup
	@$(PY) -m teapot_renderer.install_opendr

## quickstart: data, a short IB-GAN run on dSprites, scores and a report (minutes)
quickstart: setup
	@$(PY) run.py --gin_file=gin/quickstart.gin --run_dir=runs/quickstart
	@echo "report: $$(pwd)/runs/quickstart/report.html"

## test: lint, then every test
test: lint
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal

## lint: style, format and types
lint: setup-development
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy .

## results: the learning proofs of docs/results.md, all or NAMES="infogan-mnist ..." (hours; goes on where it stopped)
results: setup
	@$(PY) -m benchmarks.results $(NAMES)

## benchmarks: time everything of docs/performance.md and write it there; installs torch (some two hours, on two idle cores)
benchmarks: setup-benchmarks
	@failed=; for name in steps_vs_pytorch data render start_up metrics dhsic; do \
	    $(PY) -m benchmarks.$$name --write || { [ $$? -lt 128 ] || exit 130; failed="$$failed $$name"; }; \
	done; [ -z "$$failed" ] || { echo "error: ended with an error, which is above:$$failed" >&2; exit 1; }

## kill-campaign: kill every kind of command at random moments, compare what they leave, write docs/reliability.md (an hour)
kill-campaign: setup
	@$(PY) -m benchmarks.kill_campaign --write

## clean: remove .venv and caches; data/ and runs/ stay
clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . \( -path ./.git -o -path ./data -o -path ./runs \) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# sh -c "$$SPOUT_ENVIRONMENT" sh FILE installs the packages that the requirements file FILE names into .venv.
#
# A record in .venv holds what was installed: the requirements, the interpreter's version, whether with CUDA. Where
# it agrees with what is wanted, nothing is done. All records go before pip starts, and come back when all went well:
# an environment without a record was interrupted (or is not ours), and is built anew.
define SPOUT_ENVIRONMENT
set -eu
stop() { echo "error: $$*" >&2; exit 2; }
version() { "$$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null || true; }
has() { "$$1" -c "import $$2" 2>/dev/null </dev/null; }

file=$$1
if [ -n "$${PYTHON:-}" ]; then
    set -- "$$PYTHON"
elif [ -n "$$(version .venv/bin/python)" ] && ls .venv/installed-* >/dev/null 2>&1; then
    set -- .venv/bin/python
else
    set -- python3.11 python3.12 python3.10 python3 python
fi
python= number= bare= seen=
for name; do
    number=$$(version "$$name")
    case $$number in
        3.10.*|3.11.*|3.12.*) if has "$$name" ensurepip || has "$$name" pip; then python=$$name; break; fi; bare=$$number ;;
        *) seen="$$seen$${seen:+, }$$name: $${number:-none}" ;;
    esac
done
if [ -z "$$python" ] && [ -n "$$bare" ]; then
    package=python$${bare%.*}-venv
    stop "Python $$bare is here but cannot make environments: it has neither venv nor pip. Run: sudo apt install $$package"
elif [ -z "$$python" ]; then
    stop "Spout needs Python 3.10, 3.11 or 3.12 ($$seen). Say where one is: make PYTHON=/path/to/python3.11; or run: sudo apt install python3.11-venv"
fi

gpu=$${SPOUT_GPU:-}
if [ -z "$$gpu" ]; then
    if [ -e /dev/nvidia0 ] || [ -e /proc/driver/nvidia ] || nvidia-smi -L >/dev/null 2>&1; then gpu=1; else gpu=0; fi
fi
case $$gpu in 0) cuda= ;; 1) cuda='tensorflow[and-cuda]' ;; *) stop "SPOUT_GPU=$$gpu; allowed: 0 (no CUDA), 1 (CUDA)" ;; esac

wanted() { cat requirements.txt "$$1"; echo "# Python $$number, CUDA $$gpu"; }
there=$$(version .venv/bin/python)
if [ -n "$$there" ] && [ "$$(cat ".venv/installed-$$file" 2>/dev/null)" = "$$(wanted "$$file")" ]; then exit 0; fi

if [ "$${there%.*}" != "$${number%.*}" ] || ! ls .venv/installed-* >/dev/null 2>&1; then
    echo "Making .venv with Python $$number."
    rm -rf .venv
    if has "$$python" ensurepip; then
        "$$python" -m venv .venv
    else
        "$$python" -m venv --without-pip .venv
        "$$python" -m pip --python .venv/bin/python install -q pip
    fi
fi
rm -f .venv/installed-*
echo "Installing the packages of $$file into .venv (once; minutes, and gigabytes)."
if [ -t 1 ]; then quiet=; else quiet=-q; fi
cache=$${PIP_CACHE_DIR:-$${XDG_CACHE_HOME:-$${HOME:-}/.cache}/pip}
if ! mkdir -p "$$cache" 2>/dev/null || [ ! -w "$$cache" ]; then export PIP_NO_CACHE_DIR=1; fi
.venv/bin/python -m pip install $$quiet --no-input --disable-pip-version-check --retries 10 -r "$$file" $$cuda ||
    stop "pip could not install $$file, for the reason above; mend it (network? disk space?) and run make again"
.venv/bin/python -c 'import tensorflow, keras, gin, tensorflow_datasets' >.venv/partial 2>&1 ||
    stop "the packages were installed but cannot be imported: $$(cat .venv/partial)"
for name in requirements.txt "$$file"; do
    wanted "$$name" >.venv/partial
    mv .venv/partial ".venv/installed-$$name"
done
endef
export SPOUT_ENVIRONMENT
