# Every command of the course. Targets only start things; the work is done by `python -m common.tutorial`,
# which also runs without make:  python -m common.tutorial --help

.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV ?= .venv
STAMP := $(VENV)/.vitrine-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

ifeq ($(VENV),none)
PY := $(or $(PYTHON),python3)
else
PY := $(VENV)/bin/python
endif
RUN = "$(PY)" -m common.tutorial --from-make

# What the user says on the command line, and only there: MODEL in the environment may belong to another program.
# `value` keeps make from expanding a `$` in a prompt; the environment keeps the shell away from quotes and spaces.
given = $(if $(filter command,$(origin $(1))),$(value $(1)))
GIVEN := MODEL DEVICE DTYPE ARGS FROM BASE STAGE TESTS FILE RELOCK HTML TRACE MINE HINT RESET CONTINUE QUICK ONLY
$(foreach name,$(GIVEN),$(eval export FROM_MAKE_$(name) := $$(call given,$(name))))
unexport $(GIVEN)

##@ Learning (NN is 01 to 20; stage-7 works as well)

stage-%: setup ## stage-NN|run a stage's demo
	@$(RUN) run "$*"
diff-%: setup ## diff-NN|what the stage changes, in reading order (HTML=1, FROM=, MINE=1, TRACE=1)
	@$(RUN) diff "$*"
trace-%: setup ## trace-NN|the worked example, step by step
	@$(RUN) trace "$*"
article-%: setup ## article-NN|read the stage's article in the terminal
	@$(RUN) article "$*"
predict-%: setup ## predict-NN|guess the results before you run it, and be scored
	@$(RUN) predict "$*"
try-%: setup ## try-NN|build the stage yourself: its tests on the previous stage's engine, in work/ (HINT=1, RESET=1)
	@$(RUN) try "$*"
check-%: setup ## check-NN|run those tests on your attempt (ONLY=2: one promise; ONLY=word)
	@$(RUN) check "$*"
bench-%: setup ## bench-NN|measure the stage against the one before, in one run
	@$(RUN) bench "$*"
serve-%: setup ## serve-NN|the HTTP server of a stage (from 04)
	@$(RUN) serve "$*"
chat: setup ## chat|talk to the newest stage that has a chat client
	@$(RUN) chat

##@ Checking

doctor: setup ## doctor|this machine: versions, memory bandwidth, GPU, a kernel, checkpoints
	@$(RUN) doctor
sanity: setup ## sanity|load each shipped model and compare eight tokens (MODEL= for another)
	@$(RUN) sanity
test-%: setup ## test-NN|a stage's tests and the contract suite on it
	@$(RUN) test "$*"
test: setup ## test|what CI runs on every change
	@$(RUN) test
test-all: setup ## test-all|everything, the slow tests too
	@$(RUN) test all
bench: setup ## bench|the ladder: all stages and what else there is, side by side (QUICK=1)
	@$(RUN) bench

##@ Maintaining

lint: setup ## lint|ruff: rules and format; no comment that splits a line
	@"$(PY)" -m ruff check . && "$(PY)" -m ruff format --check . && "$(PY)" -m common.tutorial.chain.comments
types: setup ## types|mypy
	@"$(PY)" -m mypy
verify: setup ## verify|the chain of stages against its manifests and locks
	@$(RUN) verify
relock: setup ## relock|rewrite the diff lock of STAGE=NN
	@$(RUN) relock
propagate: setup ## propagate|carry a fix FROM=NN through the later stages (FILE=, BASE=, TESTS=all, CONTINUE=1)
	@$(RUN) propagate
mutate-%: setup ## mutate-NN|plant small faults in a stage's engine, and count those that its tests notice
	@$(RUN) mutate "$*"
articles: setup ## articles|fill in every code block, output and number of the articles
	@$(RUN) articles
figures: setup ## figures|draw the figures and record the terminal pictures again
	@$(RUN) figures
history: setup ## history|export the stages as a linear git repository
	@$(RUN) history
new-stage: setup ## new-stage|start the next stage as a copy of the last (ARGS='slug --title .. --question .. --idea ..')
	@$(RUN) new-stage

##@ Setting up (VENV=none PYTHON=... uses an interpreter as it is; TORCH_INDEX=... picks PyTorch's builds)

setup: ## setup|create .venv and install everything; other targets do it when needed
ifneq ($(VENV),none)
	@test -f "$(STAMP)" || { \
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.14); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec "$$python" common/tutorial/learner/install.py "$(VENV)" "$(STAMP)" "$(TORCH_INDEX)"; \
		fi; \
	done; \
	echo "error: $(or $(PYTHON),python3) is missing or older than Python 3.11;" \
		"install Python 3.11 or newer, or name one: make ... PYTHON=/path/to/python3.12" >&2; \
	exit 2; }
endif

clean: ## clean|remove .venv and the caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

help: ## help|this list
	@awk -F'## |\\|' '/^##@/ { sub(/^##@ /, ""); printf "\n%s\n", $$0 } \
		/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$2, $$3 }' Makefile
	@echo
	@echo 'All take MODEL= DEVICE= DTYPE= and ARGS=, for example'
	@echo "  make stage-02 MODEL=storyteller-llama ARGS='--prompt \"The old king\" --max-tokens 40'"

.DEFAULT:
	@echo "error: no target '$@'; make help lists them" >&2; exit 2

.PHONY: help setup clean chat doctor sanity test test-all bench lint types verify relock propagate articles figures history new-stage
