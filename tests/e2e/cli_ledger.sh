#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L18, L25, L26): pins, leases, sessions, limits and the audit are shown with filters, as tables and JSON, once and
# again; limits of pins are set, hold over a restart, say which one was reached, and are taken away.
. "$(dirname "$0")/lib.sh"

make_pool 64M
serve --listen "unix:$POOL.sock" --listen tcp:127.0.0.1:0
export LEASEHOLD=$UNIX
head -c 1000000 /dev/urandom >"$T/data"
"$LH" put "$T/data" /data
"$LH" put "$T/data" /other

# hold NAME PATH MODE [COMMAND...]: a holder in the background; $LEASE, $HOLDER
hold() {
	local name=$1 path=$2 mode=$3
	shift 3
	mkfifo "$T/in.$name"
	"$@" "$HOLD_LEASE" "${AT:-$UNIX}" "$path" "$mode" <"$T/in.$name" >"$T/held.$name" 2>"$T/err.$name" &
	HOLDER=$!
	SERVERS+=("$HOLDER")
	exec {FD}>"$T/in.$name"
	for _ in $(seq 600); do
		grep -q '^holding' "$T/held.$name" && break
		kill -0 "$HOLDER" 2>/dev/null || return 1
		sleep 0.05
	done
	LEASE=$(sed -n 's/^holding //p' "$T/held.$name")
	[ -n "$LEASE" ] || fail "no lease"
}

hold one /data read
ONE=$LEASE
PID=$HOLDER
FD_ONE=$FD
hold two /other write
TWO=$LEASE FD_TWO=$FD

# Leases, by every condition.
runs 0 "$LH" leases
shows '^ *LEASE +MODE +STATE'
shows "READ +granted .* key .* $PID "
[ "$(wc -l <"$T/out")" -eq 3 ] || fail "not a head and two leases"
# Aligned: every line has its columns where the head has them.
awk 'NR == 1 { at = index($0, "MODE") } NR > 1 && substr($0, at, 1) !~ /[RW]/ { exit 1 }' "$T/out" || fail "not aligned"
runs 0 "$LH" leases --json
json "sorted(x['number'] for x in j) == sorted([$ONE, $TWO])"
json "all(x['pin'] == 'key' and x['pins'] == 1 and x['pinned_bytes'] == 65536 and not x['faulting'] for x in j)"
for how in "--lease $TWO" "/other" "--file /other" "--file /other --uid $(id -u)"; do
	# shellcheck disable=SC2086 # options
	runs 0 "$LH" leases --json $how
	json "[x['number'] for x in j] == [$TWO]"
done
runs 0 "$LH" leases --json --uid 12345
json 'j == []'
SESSION=$("$LH" leases --json --lease "$TWO" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["session"])')
runs 0 "$LH" leases --json --session "$SESSION"
json "[x['number'] for x in j] == [$TWO]"
runs 1 "$LH" leases --file /none
says '/none'

# Pins, and their sums.
runs 0 "$LH" pins
shows '^DEVICE +PINS +PINNED'
shows '^2 pins, 128 KiB'
runs 0 "$LH" pins --json --by uid
json "j == [{'uid': $(id -u), 'leases': 2, 'pins': 2, 'pinned_bytes': 131072}]"
runs 0 "$LH" pins --by file
[ "$(wc -l <"$T/out")" -eq 4 ] || fail "not two files"
runs 2 "$LH" pins --by nothing
says 'uid, session or file'

# Sessions: the server's own, the two, and this one.
runs 0 "$LH" sessions --json
json "len(j) == 4 and all(x['state'] == 'open' for x in j)"
json "[x['pinned_bytes'] for x in j if x['number'] == $SESSION] == [65536]"
runs 0 "$LH" sessions --session "$SESSION"
shows "^ *$SESSION +open "
# At a pool that another process serves, the command finds the server.
runs 0 "$LH" -p "$POOL" sessions --session "$SESSION"
shows "^ *$SESSION +open "

# Again and again: into a pipe once an interval, and a signal ends it in order.
"$LH" leases --watch 100ms --json >"$T/watched" &
WATCHER=$!
sleep 1
kill -INT "$WATCHER"
wait "$WATCHER" || fail "--watch ended with $?"
[ "$(grep -c '^\[' "$T/watched")" -ge 3 ] || fail "--watch showed $(cat "$T/watched")"

# Limits of pins: who is over one already keeps what he has.
runs 0 "$LH" limit set --pins --uid "$(id -u)" --bytes 128K --leases 2
runs 0 "$LH" limit set --pins --default --bytes 16M
runs 0 "$LH" limit set --pins --total --leases none --bytes 1G
runs 0 "$LH" limits
shows "^pins-uid +$(id -u) .*128 KiB +128 KiB #{20} 100%"
runs 0 "$LH" limits --json --pins
json "{x['kind']: (x['bytes'], x['leases'], x['bytes_used']) for x in j} == {'pins-uid': (131072, 2, 131072), 'pins-default': (16777216, None, 0), 'pins-total': (1073741824, None, 131072)}"
runs 0 "$LH" sessions --json --session "$SESSION"
json "j[0]['bytes_limit'] == 131072 and j[0]['leases_limit'] == 2"
if hold three /data read; then fail "over the limit of leases"; fi
grep -q 'leases' "$T/err.three" || fail "no sentence: $(cat "$T/err.three")"
runs 0 "$LH" revoke --lease "$TWO" --json
json "j == {'revoked': 1}"
runs 0 "$LH" limit set --pins --uid "$(id -u)" --bytes 100K
if hold four /data read; then fail "over the limit of bytes"; fi
grep -q 'administrator' "$T/err.four" || fail "no sentence: $(cat "$T/err.four")"
# What the command copies does not need a lease.
runs 0 "$LH" limit set --pins --uid "$(id -u)" --bytes 0
runs 0 "$LH" get /data "$T/copy"
cmp "$T/data" "$T/copy"
head -c 5000000 /dev/urandom >"$T/more"
runs 0 "$LH" put "$T/more" /more
"$LH" cat /more | cmp - "$T/more"
runs 2 "$LH" limit set --pins --bytes 1
runs 2 "$LH" limit set --default --bytes 1
runs 2 "$LH" limit clear --uid 5
runs 1 "$LH" limit clear --pins --uid 5

# The audit: who, whose, why.
runs 0 "$LH" audit
shows "administrator .* session [0-9]+ \(uid $(id -u), pid [0-9]+\)"
runs 0 "$LH" audit --json --lease "$TWO"
json "len(j) == 1 and j[0]['session'] == $SESSION and j[0]['reason'] == 'administrator' and j[0]['asker_uid'] == $(id -u) and j[0]['asker_session'] > 0"
runs 0 "$LH" audit --last 0
shows 'no lease'
runs 0 "$LH" audit --file /data
shows 'no lease'

# Limits are the pool's: they are there after a restart, and go when they are cleared.
exec {FD_TWO}>&- {FD_ONE}>&-
wait "$PID" "$HOLDER" || true
kill "$SERVER"
wait "$SERVER" || fail "the server ended with $?"
runs 0 "$LH" fsck "$POOL"
runs 0 "$LH" -p "$POOL" limit show --pins --json
json "sorted(x['kind'] for x in j) == ['pins-default', 'pins-total', 'pins-uid']"
for who in "--uid $(id -u)" --default --total; do
	# shellcheck disable=SC2086 # an option and its value
	runs 0 "$LH" -p "$POOL" limit clear --pins $who
done
runs 0 "$LH" -p "$POOL" limits
shows 'no limits'

# A user's own RLIMIT_MEMLOCK counts where nothing else does.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null && command -v prlimit >/dev/null; then
	serve --listen "unix:$T/open.sock" --socket-mode 0666
	chmod 0711 "$T"
	AT=$UNIX
	runs 0 "$LH" -p "$AT" put "$T/data" /free
	"$LH" -p "$AT" acl --set u::rw,g::rw,o::rw /free
	user=(setpriv --reuid 65534 --regid 65534 --clear-groups prlimit)
	if hold tight /free read "${user[@]}" --memlock=16384:16384; then fail "over RLIMIT_MEMLOCK"; fi
	grep -q 'RLIMIT_MEMLOCK' "$T/err.tight" || fail "no sentence: $(cat "$T/err.tight")"
	hold roomy /free read "${user[@]}" --memlock=131072:131072 || fail "within RLIMIT_MEMLOCK: $(cat "$T/err.roomy")"
	runs 0 "$LH" -p "$AT" sessions --uid 65534 --json
	json "j[0]['bytes_limit'] == 131072 and j[0]['pinned_bytes'] == 65536"
	runs 0 "${user[@]}" --memlock=16384:16384 "$LH" -p "$AT" leases --json
	json "len(j) == 1 and j[0]['uid'] == 65534"
	runs 0 "${user[@]}" --memlock=16384:16384 "$LH" -p "$AT" sessions --json
	json "all(x['uid'] == 65534 for x in j)"
	install -d -o 65534 "$T/home"
	runs 0 "${user[@]}" --memlock=16384:16384 "$LH" -p "$AT" get /free "$T/home/free"
	cmp "$T/data" "$T/home/free"
	runs 1 "${user[@]}" --memlock=16384:16384 "$LH" -p "$AT" revoke --lease "$LEASE"
	says 'root'
	runs 1 "${user[@]}" --memlock=16384:16384 "$LH" -p "$AT" limit set --pins --uid 65534 --bytes none
	runs 0 "$LH" -p "$AT" revoke --uid 65534
	shows '^1 leases revoked'
	exec {FD}>&-
fi
