#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: a server that goes away under a mount is EIO after its lease time (soft) or a wait that a signal ends (hard); with
# the next server it goes on, and nothing hangs (L34, L35).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/mount_lib.sh"

make_pool 64M
# The server must not have what this script has open.
start() {
	serve --listen "unix:$T/sock" --lease-time 1s 6<&- 7<&- 8<&- 9<&-
}
end_server() {
	kill -KILL "$SERVER"
	wait "$SERVER" 2>/dev/null || true
}
start

# Soft: an error, soon; then it goes on by itself, also for what was open.
mounts "$UNIX" -o soft
echo before >"$M/f"
sync "$M/f"
exec 8<"$M/f"
mkdir "$M/d"
end_server
began=$SECONDS
! timeout 20 ls "$M/d" >/dev/null 2>&1 || fail "listed without a server"
! timeout 20 sh -c "echo x >'$M/new'" 2>/dev/null || fail "made without a server"
[ $((SECONDS - began)) -lt 15 ] || fail "soft waits for $((SECONDS - began)) s"
start
for _ in $(seq 100); do
	[ "$(cat "$M/f" 2>/dev/null)" = before ] && break
	sleep 0.1
done
[ "$(cat "$M/f")" = before ] || fail "does not go on"
[ "$(cat <&8)" = before ] || fail "an open file does not go on"
exec 8<&-
echo after >"$M/g"
[ "$(cat "$M/g")" = after ] || fail "does not write"

# A server that is there again at once: nothing is seen, but what had no name any more is stale.
echo unlinked >"$M/x"
sync "$M/x"
exec 7<"$M/x" 6<"$M/g"
rm "$M/x"
sync "$M"
end_server
start
[ "$(timeout 20 cat <&6)" = after ] || fail "an open file does not survive a restart"
! timeout 20 dd of=/dev/null bs=4096 iflag=direct status=none <&7 2>"$T/stale" || fail "a file that is gone is read"
grep -q 'Stale file handle' "$T/stale" || fail "not ESTALE: $(cat "$T/stale")"
exec 7<&- 6<&-

# Gone for good: unmounting works.
end_server
runs 0 timeout 20 "$LH" umount --lazy "$M"
start

# Hard: it waits, a killed program does not, and all goes on.
mounts "$UNIX" -o hard
exec 9>>"$M/log"
echo one >&9
end_server
(echo two >&9 && echo done >"$T/wrote") 2>/dev/null &
waiting=$!
ls "$M/d" >/dev/null 2>&1 &
doomed=$!
sleep 3
kill -0 "$waiting" 2>/dev/null || fail "hard did not wait: $(cat "$T/wrote" 2>/dev/null)"
kill -KILL "$doomed"
gone "$doomed"
start
for _ in $(seq 100); do
	[ -e "$T/wrote" ] && break
	sleep 0.1
done
[ -e "$T/wrote" ] || fail "the write does not go on"
wait "$waiting" || true
exec 9>&- || true
[ "$(tail -n 1 "$M/log")" = two ] || fail "it was not written: $(cat "$M/log")"
unmounts
