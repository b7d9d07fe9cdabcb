#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L7, L9, L25, L26): an administrator sees who holds what and takes it back; a deaf holder delays nobody for long.
. "$(dirname "$0")/lib.sh"

make_pool 32M
serve --listen "unix:$T/s" --deadline 300ms
export LEASEHOLD=$UNIX
head -c 1000000 /dev/urandom >"$T/data"
"$LH" put "$T/data" /data

# hold: a holder in the background; $LEASE is its number
hold() {
	mkfifo "$T/in.$1"
	"$HOLD_LEASE" "$UNIX" /data "$1" <"$T/in.$1" >"$T/held.$1" &
	HOLDER=$!
	SERVERS+=("$HOLDER")
	exec 9>"$T/in.$1"
	for _ in $(seq 600); do
		grep -q '^holding' "$T/held.$1" && break
		sleep 0.05
	done
	LEASE=$(sed -n 's/^holding //p' "$T/held.$1")
	[ -n "$LEASE" ] || fail "no lease"
}
# let_go: the holder tries once more and ends
let_go() {
	exec 9>&-
	wait "$HOLDER"
	rm "$T/in.$1"
}

hold read
runs 0 "$LH" leases
shows '^LEASE +MODE'
shows "READ +granted .* $HOLDER "
runs 0 "$LH" leases --json /data
json "len(j) == 1 and j[0]['number'] == $LEASE and j[0]['pid'] == $HOLDER and j[0]['mode'] == 'READ' and j[0]['pinned_bytes'] > 0"
runs 0 "$LH" leases --json /
json 'j == []'
runs 0 "$LH" revoke --lease "$LEASE"
shows '^1 leases revoked'
runs 0 "$LH" revoke --lease "$LEASE"
shows '^0 leases revoked'
runs 0 "$LH" leases
shows '^no leases'
let_go read
grep -q '^gone' "$T/held.read" || fail "the holder noticed nothing"

# The deadline of 300 ms and some work; the script's own processes are slow, so only the order of magnitude counts.
hold write
runs 1 "$LH" relocate --nowait /data
says 'relocate: .*(again|lease)'
sleep 1
runs 0 "$LH" relocate --nowait /data
shows '^24[45] blocks moved'
let_go write
grep -q '^gone' "$T/held.write" || fail "the holder noticed nothing"

hold read
begin=$(date +%s%N)
runs 0 "$LH" truncate /data 1000
took=$((($(date +%s%N) - begin) / 1000000))
[ "$took" -ge 250 ] && [ "$took" -lt 5000 ] || fail "truncate took $took ms"
let_go read
"$LH" cat /data | cmp - <(head -c 1000 "$T/data")
