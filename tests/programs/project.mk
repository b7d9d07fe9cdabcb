# SPDX-License-Identifier: BSD-2-Clause
# For git.sh: builds modules of this repository and their unit tests with plain make and gcc. In a clone: make -f project.mk O=DIR check
modules := base format lease
tests := base/test_size base/test_brlock base/test_evqueue format/test_format lease/test_lease_hold lease/test_lease_index \
	lease/test_lease_account lease/test_lease_policy
CFLAGS := -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -fno-strict-aliasing -pthread -Iinclude -Isrc
libraries := -lcmocka -lisal -lbsd -pthread

sources := $(wildcard $(modules:%=src/%/*.c))
objects := $(sources:src/%.c=$(O)/%.o)
programs := $(tests:%=$(O)/%)

all: $(programs)

check: $(programs:=.passed)

$(O)/%.passed: $(O)/%
	$< >$@.log 2>&1 || { cat $@.log; exit 1; }
	mv $@.log $(O)/$(notdir $@)
	touch $@

$(O)/all.a: $(objects)
	rm -f $@
	ar rcs $@ $^

$(O)/%.o: src/%.c
	@mkdir -p $(dir $@)
	$(CC) $(CFLAGS) -MMD -c -o $@ $<

$(O)/tests/%.o: tests/unit/%.c
	@mkdir -p $(dir $@)
	$(CC) $(CFLAGS) -Itests/unit/$(dir $*) -MMD -c -o $@ $<

$(O)/lease/test_%: $(O)/tests/lease/test_%.o $(O)/tests/lease/rig.o $(O)/all.a
	$(CC) -o $@ $^ $(libraries)

$(O)/%: $(O)/tests/%.o $(O)/all.a
	$(CC) -o $@ $^ $(libraries)

.SECONDARY:
-include $(objects:.o=.d)
