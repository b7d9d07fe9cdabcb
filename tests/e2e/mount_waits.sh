#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: what a program does on a mount breaks a direct holder's lease as the library's calls do (L1); one that waits for
# the holder and is killed goes at once, and nobody else waits with it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/mount_lib.sh"

make_pool 64M
mounts "$POOL" -o "listen=unix:$T/direct.sock,deadline=8s"
head -c 1048576 /dev/zero >"$M/held"
sync "$M/held"

# A holder who ignores every recall.
mkfifo "$T/keep"
exec 7<>"$T/keep"
"$HOLD_LEASE" "unix:$T/direct.sock" /held write <&7 >"$T/holder" 2>&1 &
SERVERS+=($!)
for _ in $(seq 100); do
	grep -q holding "$T/holder" && break
	sleep 0.1
done
truncate -s 0 "$M/held" &
waiting=$!
sleep 0.5
kill -0 "$waiting" 2>/dev/null || fail "truncate did not wait for the holder"
began=$SECONDS
echo other >"$M/other"
[ "$(cat "$M/other")" = other ] || fail "others"
[ $((SECONDS - began)) -lt 3 ] || fail "others wait with it"
kill -KILL "$waiting"
wait "$waiting" 2>/dev/null || true
[ $((SECONDS - began)) -lt 5 ] || fail "a killed program waits for the deadline"
timeout 20 truncate -s 0 "$M/held" || fail "truncate"
[ "$(stat -c %s "$M/held")" = 0 ] || fail "not truncated"
unmounts
