#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# dbench: the load of a file server by several clients, with attributes and with synchronous directories; every call must have the
# result that the load says.
. "$(dirname "$0")/lib.sh"
need dbench
load=/usr/share/dbench/client.txt
[ -f "$load" ] || skip "no $load here"
cd "$W"

run() {
	local what=$1
	shift
	mkdir "$W/clients"
	timeout -k 5 $((120 + 10 * SCALE)) dbench -c "$load" -D "$W/clients" -t $((8 * SCALE)) "$@" 4 >"$S/dbench.log" 2>&1 ||
		fail "$what: dbench ended with an error: $(tail -n 5 "$S/dbench.log")"
	# It says that it has no semaphore and goes on without.
	! grep -v 'failed to create barrier semaphore' "$S/dbench.log" | grep -iE 'fail|error|No such|expected' >&2 || fail "$what: dbench complains"
	local rate
	rate=$(sed -n 's/^Throughput \([0-9.]*\) MB.*/\1/p' "$S/dbench.log")
	[ -n "$rate" ] && [ "$rate" != 0 ] || fail "$what: no throughput: $(tail -n 5 "$S/dbench.log")"
	rm -rf "$W/clients"
	said "$what: $rate MB/s"
}

run "four clients"
run "four clients, synchronous directories" -S
if setfattr -n user.try -v 1 "$W" 2>/dev/null; then
	run "four clients, attributes" -x
fi
