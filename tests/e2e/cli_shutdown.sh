#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L36): SIGTERM and SIGINT take everything back, flush, and exit 0; the pool is clean and nothing acknowledged is lost.
. "$(dirname "$0")/lib.sh"

make_pool 64M
head -c 5000000 /dev/urandom >"$T/data"
for signal in TERM INT; do
	serve --listen "unix:$T/s" --deadline 200ms
	"$LH" -p "$UNIX" put "$T/data" "/data.$signal"
	kill "-$signal" "$SERVER"
	got=0
	wait "$SERVER" || got=$?
	[ "$got" -eq 0 ] || fail "SIG$signal: status $got"
	grep -q '^stopped' "$T"/serve.* || fail "no last line"
	[ ! -e "$T/s" ] || fail "the socket is left"
	runs 0 "$LH" fsck "$POOL"
	"$LH" -p "$POOL" cat "/data.$signal" | cmp - "$T/data"
done
runs 0 "$LH" -p "$POOL" serve --listen "unix:$T/s" --exit-after 100ms
shows '^ready unix:'
shows '^stopped'

# The default address is beside the pool.
runs 0 "$LH" -p "$POOL" serve --exit-after 100ms
shows "^ready unix:$POOL.sock"
