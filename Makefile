# unifeat: `make` lists what can be made. The second and third columns of a target's comment are its cost.

# PROFILE names one of the lineages that come with the package; LINEAGE also takes a .toml file of yours.
PROFILE ?=
LINEAGE ?= $(or $(PROFILE),laptop)
CORPORA ?=
FROM ?=
MODELS ?=
HOOK ?=
N ?=

# The first Python that starts and that the pinned torch has packages for; PYTHON=... chooses another.
CHECK := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHONS := Python 3.11 to 3.14
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c '$(CHECK)' >/dev/null 2>&1 && echo $$p && break; done)

# The active environment (conda's base is not for this, a deleted one neither), else .venv. Without an active one the
# wildcard alone would find /bin/python.
ifneq ($(and $(VIRTUAL_ENV),$(wildcard $(VIRTUAL_ENV)/bin/python)),)
ENV := $(VIRTUAL_ENV)
else ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
ENV := $(CONDA_PREFIX)
else
ENV := .venv
endif
BIN := $(ENV)/bin
STAMP := $(ENV)/unifeat.stamp
# The stamp holds where this clone is and its requirements; when either differs, they are installed again.
STATE := { pwd; cat requirements.lock; }

# Threads that wait soon sleep: little slower alone, several times faster beside another program (GNU OpenMP).
export GOMP_SPINCOUNT ?= 10000
# Compiled modules are kept, whatever the caller's setting (images often forbid it): a notebook starts 5 s sooner.
export PYTHONDONTWRITEBYTECODE :=
# In a conda environment Python would take the user's own packages (~/.local) before the pinned ones.
export PYTHONNOUSERSITE := 1
# A cluster's modules set these: other packages before the pinned ones, a window to draw in that nothing here opens.
unexport PYTHONPATH PYTHONHOME MPLBACKEND
# Files and pipes are UTF-8, whatever the locale.
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help env lock figures estimate controls studies explorer verify gc test lint unit soak nbval bench audit lab notebooks docs clean install one
.NOTPARALLEL:

help: ## This list |
	@echo "make [target] [PROFILE=smoke|laptop|paper|released] [LINEAGE=mine.toml] [CORPORA=embedded|hub|files|folder] [FROM=NN]"
	@echo "     [MODELS=name=folder,name=folder,...] [HOOK=blocks.N.hook_mlp_out|...]"
	@echo
	@awk -F '## *|[|]' 'BEGIN { f = "  %-10s %-70s %-12s %s\n"; printf f, "target", "what it does", "time", "disk" } \
		/^[a-z]+:.*## / { split($$1, t, ":"); gsub(/^ +| +$$/, "", $$3); gsub(/^ +| +$$/, "", $$4); \
		printf f, t[1], $$2, $$3, $$4 }' Makefile
	@echo
	@echo "  Times are of two CPU cores; a target that depends on the environment makes it first."

env: ## Python packages, into the active environment or .venv | 1-2 min | 2-6 GB
	@$(STATE) | cmp -s - "$(STAMP)" || $(MAKE) --no-print-directory install

FAIL = { echo $(1) >&2; exit 2; }
VENV = "$(PYTHON) cannot make a virtual environment; install its venv module (Debian: apt install python3-venv)."

install:
ifeq ($(ENV),.venv)
	@test -n "$(PYTHON)" || $(call FAIL,"No $(PYTHONS) is on the PATH; install one or name it: make PYTHON=...")
	@"$(PYTHON)" -c '$(CHECK)' 2>/dev/null || $(call FAIL,"$(PYTHON) is not $(PYTHONS) or does not start; name another: make PYTHON=...")
	@"$(PYTHON)" -m venv .venv || $(call FAIL,$(VENV))
else
	@"$(BIN)/python" -c '$(CHECK)' 2>/dev/null || $(call FAIL,"The active environment $(ENV) has no $(PYTHONS); deactivate it and try again.")
endif
	@echo "Installing the pinned packages into $(ENV) ..."
	@quiet=-q; test -t 1 && quiet=; \
	"$(BIN)/python" -m pip install --no-compile --disable-pip-version-check $$quiet -r requirements.lock && \
	"$(BIN)/python" -m pip install --no-build-isolation --disable-pip-version-check -q --no-deps -e . || \
	$(call FAIL,"Installing failed for the reason above; see to network and disk space and run the command again.")
	@$(STATE) > "$(STAMP)"

one:
	@test "$(LINEAGE)" = "$(or $(PROFILE),$(LINEAGE))" || $(call FAIL,"PROFILE=$(PROFILE) and LINEAGE=$(LINEAGE) both name the lineage; give one of them.")

lock: ## Write requirements.lock anew from pyproject.toml | 1 min | 50 MB
	"$(PYTHON)" -m venv build/lock
	build/lock/bin/pip install -q pip-tools
	echo "soupsieve<3" > build/constraints.txt # later ones need Python 3.11.5
	build/lock/bin/pip-compile --constraint build/constraints.txt --quiet --upgrade --allow-unsafe --extra test \
		--strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
		--annotation-style line --output-file build/requirements.txt pyproject.toml
	{ sed -n '/^#/p' requirements.lock; \
	sed -e '/^#/d' -e '/^$$/d' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton=/d' \
		-e 's/^\(torch==[0-9.]*\)+[a-z0-9]*/\1/' -e 's/ (pyproject.toml)//' \
		-e 's/ -c build.constraints.txt,//' build/requirements.txt; } > build/requirements.lock
	mv build/requirements.lock requirements.lock

figures: one env ## Run the notebooks and regenerate every figure | 20-35 min | 1 GB
	@"$(BIN)/python" -m unifeat figures --lineage "$(LINEAGE)" --corpora "$(CORPORA)" --from "$(FROM)" \
		--models "$(MODELS)" --hook "$(HOOK)"

estimate: one env ## What `make figures` would take here, tried for a few steps | 20 s |
	@"$(BIN)/python" -m unifeat estimate --lineage "$(LINEAGE)" --corpora "$(CORPORA)"

controls: one env ## Run the notebook of controls, which trains SAEs of its own | 25-35 min | 1 GB
	@test -z "$(MODELS)$(HOOK)" || $(call FAIL,"The controls train language models of their own: they take no MODELS or HOOK.")
	@"$(BIN)/python" -m unifeat controls --lineage "$(LINEAGE)" --corpora "$(CORPORA)"

studies: one env ## Run the notebooks of studies, which train models of their own; N=11 runs one | 3-4 h | 6 GB
	@test -z "$(MODELS)$(HOOK)" || $(call FAIL,"The studies train language models of their own: they take no MODELS or HOOK.")
	@"$(BIN)/python" -m unifeat studies --lineage "$(LINEAGE)" --corpora "$(CORPORA)" --only "$(N)"

explorer: one env ## The offline page of all features alone, from the store | 1 min | 10 MB
	@"$(BIN)/python" -m unifeat explorer --lineage "$(LINEAGE)" --corpora "$(CORPORA)" --models "$(MODELS)" --hook "$(HOOK)"

verify: env ## Read every byte of the store of results and name what is damaged | 1 s per GB |
	@"$(BIN)/python" -m unifeat verify

gc: env ## List what no recent run asked the store for; APPLY=1 removes it | 1 s |
	@"$(BIN)/python" -m unifeat gc $(if $(filter 1,$(APPLY)),--apply)

test: lint unit ## All that CI checks: style, tests, the figures and notebooks in small | 25-30 min | 600 MB
	@$(MAKE) --no-print-directory figures PROFILE= LINEAGE=smoke CORPORA= FROM= MODELS= HOOK=
	@$(MAKE) --no-print-directory controls PROFILE= LINEAGE=smoke CORPORA= MODELS= HOOK=
	@$(MAKE) --no-print-directory studies PROFILE= LINEAGE=smoke CORPORA= MODELS= HOOK= N=
	@$(SUMS) > build/smoke.sums
	@$(MAKE) --no-print-directory nbval
	@$(SUMS) | cmp -s - build/smoke.sums || $(call FAIL,"Running the notebooks a second time changed figures/smoke.")

SUMS := find figures/smoke -type f -exec cksum {} + | sort

lint: env ## Style of code and notebooks | 1 s |
	@"$(BIN)/ruff" check .

unit: env ## Unit tests and doctests | 13 min |
	@"$(BIN)/python" -m pytest -q --doctest-modules -n 2 --dist loadfile

soak: env ## Kill the smoke run 20 times, finish it, compare every byte | 12 min | 300 MB
	@"$(BIN)/python" -m pytest -q -m soak tests/faults/test_soak.py

nbval: env ## Every notebook executed and checked by nbval, small | 2 min |
	@UNIFEAT_LINEAGE=smoke UNIFEAT_CORPORA= UNIFEAT_MODELS= UNIFEAT_HOOK= "$(BIN)/python" -m pytest -q --nbval-lax --nbval-current-env \
		--nbval-cell-timeout 600 notebooks

bench: env ## Speed against other projects, measured; QUICK=1 only tries it out | 20 min | 8 GB
	@TQDM_DISABLE=1 "$(BIN)/python" -m benchmarks

audit: ## Known vulnerabilities of the pinned packages, from the package index's own list | 1 min | 60 MB
	@"$(PYTHON)" -m venv build/audit && build/audit/bin/pip install -q --disable-pip-version-check pip-audit==2.9.0
	@build/audit/bin/pip-audit --disable-pip --no-deps --progress-spinner off -r requirements.lock

lab: env ## JupyterLab on the notebooks |
	@PYTHONWARNINGS="ignore:IProgress not found" "$(BIN)/jupyter-lab" --notebook-dir=notebooks

notebooks: ## Refresh the committed notebooks from a laptop run | 2 min |
	@$(MAKE) --no-print-directory figures PROFILE= LINEAGE=laptop CORPORA= FROM= MODELS= HOOK=
	@"$(BIN)/python" -m unifeat strip --lineage laptop

docs: env ## API pages from the docstrings, into build/docs | 20 s | 10 MB
	@"$(BIN)/python" -m pip install -q --disable-pip-version-check --no-deps --upgrade --target build/pdoc $(PDOC)
	@PYTHONPATH=build/pdoc "$(BIN)/python" -m pdoc --docformat google --no-search -o build/docs unifeat
	@echo "Open build/docs/index.html."

PDOC := pdoc==16.0.0 markdown2==2.5.5 # beside the environment and not in it; what else pdoc needs is there

clean: ## Remove all that can be rebuilt: build/, .venv, caches | 1 s |
	rm -rf build .venv .pytest_cache .ruff_cache .hypothesis figures/smoke unifeat.egg-info
	find unifeat tests notebooks benchmarks -name __pycache__ -o -name .ipynb_checkpoints 2>/dev/null | xargs rm -rf
