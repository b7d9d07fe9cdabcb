# SPDX-License-Identifier: BSD-2-Clause
# The front door. Everything is built in ./build by meson; each target installs what it needs first (scripts/install-deps).

BUILD ?= build
INPUT ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 3600

.PHONY: all deps build demo check bench crash soak fuzz format lint clean help

all: build

help:
	@echo "make demo    install what is needed, build, run the main job   (INPUT=DIR: on your own tree)"
	@echo "make check   the same, then all tests; the last line counts them"
	@echo "make crash   the crash suite alone; make soak: the same with new seeds for SOAK_SECONDS (3600), and kills"
	@echo "make fuzz    each target of tests/fuzz for FUZZ_SECONDS (60) with clang's libFuzzer"
	@echo "make bench   measure against the peers, draw how cost grows; build/bench.json, build/curves/"
	@echo "             (ROWS='rma_*': some rows; CURVES='files extents space': some curves)"
	@echo "make format  clang-format all sources;  make lint: layers, rules, formatting"

deps:
	@scripts/install-deps

$(BUILD)/build.ninja: | deps
	@fio=$$(scripts/fio-source --quiet $(BUILD)/fio-source) || fio=; \
	meson setup $(BUILD) -Dfio_source="$$fio" >$(BUILD)-setup.log 2>&1 || { cat $(BUILD)-setup.log; exit 1; }
	@mv $(BUILD)-setup.log $(BUILD)/setup.log

build: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

demo: build
	@$(BUILD)/src/cli/leasehold demo $(if $(INPUT),--input $(INPUT))

# The demo is the main job: check runs it too, then lint and every test, and closes with the count.
check: demo lint
	@scripts/run-tests $(BUILD)

crash: build
	@scripts/run-tests --crash $(BUILD)

soak: build
	@scripts/soak $(BUILD) $(SOAK_SECONDS)

fuzz: deps
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz

bench: build
ifneq ($(ROWS)$(CURVES),)
	@$(if $(ROWS),$(BUILD)/bench/leasehold-bench --json $(BUILD)/bench.json --rows '$(ROWS)')
	@$(if $(CURVES),$(BUILD)/bench/leasehold-bench --curves $(BUILD)/curves $(CURVES))
else
	@$(BUILD)/bench/leasehold-bench --json $(BUILD)/bench.json
	@$(BUILD)/bench/leasehold-bench --curves $(BUILD)/curves
endif

lint:
	@scripts/check-layers
	@scripts/check-style
	@scripts/check-rules

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf $(BUILD)
