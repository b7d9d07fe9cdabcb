#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: a mount that cannot be is refused with a sentence; one that is ends whenever it is told to, and loses nothing.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/mount_lib.sh"

make_pool 64M

# What cannot be.
runs 1 "$LH" mount "$POOL" "$T/missing"
says 'missing: there is no such directory'
echo x >"$T/file"
runs 1 "$LH" mount "$POOL" "$T/file"
says 'file is not a directory'
runs 1 "$LH" mount -o frobnicate "$POOL" "$M"
says '-o frobnicate: there is no such option'
runs 1 "$LH" mount "$T/no.pool" "$M"
says 'cannot mount .*no.pool'
runs 1 "$LH" mount "unix:$T/nobody" "$M"
says 'nobody: there is no such socket'
runs 2 "$LH" mount
says 'nothing given'
runs 1 "$LH" umount "$M"
says 'nothing is mounted there'

# The parent ends when programs can use it, and says what is wrong before.
touch "$M/below"
mounts "$POOL" -o listen=none
[ ! -e "$M/below" ] || fail "the directory below shows"
pid=$(daemon)
mkdir "$T/other"
runs 1 "$LH" mount "$POOL" "$T/other"
says "in use by pid $pid"
runs 1 "$LH" mount "$POOL" "$M"
says 'something is mounted there already'

# A program that uses it: umount says so; --lazy does it.
exec 9>"$M/used"
echo written >&9
runs 1 "$LH" umount "$M"
says 'programs use it'
exec 9>&-
unmounts
gone "$pid"
runs 0 "$LH" fsck "$POOL"

# SIGTERM under load: programs fail, the mount is gone, all that was synced is there.
mounts "$POOL" -o listen=none
pid=$(daemon)
echo kept >"$M/kept"
sync "$M/kept"
for i in 1 2 3; do
	(cd "$M" && while dd if=/dev/zero of="load$i" bs=64k count=16 status=none 2>/dev/null; do :; done) &
done
sleep 1
kill -TERM "$pid"
gone "$pid"
wait
! mountpoint -q "$M" || fail "still mounted"
runs 0 "$LH" fsck "$POOL"
runs 0 "$LH" -p "$POOL" cat /kept
shows '^kept$'

# What a program has mapped and not synced is written back before it ends.
mounts "$POOL" -o listen=none
pid=$(daemon)
python3 - "$M/mapped" "$pid" <<'PY'
import mmap, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); os.ftruncate(fd, 8192)
m = mmap.mmap(fd, 8192); m[5000:5004] = b'kept'
os.kill(int(sys.argv[2]), signal.SIGTERM)
for _ in range(200):
    try: os.kill(int(sys.argv[2]), 0)
    except ProcessLookupError: break
    import time; time.sleep(0.05)
else: sys.exit('the daemon does not end')
PY
runs 0 "$LH" -p "$POOL" cat /mapped
[ "$(tail -c +5001 "$T/out" | head -c 4)" = kept ] || fail "what was mapped is lost"

# kill -9 of the daemon: calls fail and nothing hangs, unmounting works, the pool is as it was.
mounts "$POOL" -o "listen=unix:$T/direct.sock"
pid=$(daemon)
echo safe >"$M/safe"
sync "$M/safe"
kill -KILL "$pid"
gone "$pid"
! timeout 10 ls "$M" 2>/dev/null || fail "a dead mount lists"
runs 1 "$LH" mount "$POOL" "$M"
says 'a dead mount is there; end it with: leasehold umount'
runs 0 timeout 10 "$LH" umount "$M"
mounts "$POOL" -o "listen=unix:$T/direct.sock"
[ "$(cat "$M/safe")" = safe ] || fail "lost"

# Full: ENOSPC, and it recovers.
if dd if=/dev/zero of="$M/full" bs=1M status=none 2>"$T/dd"; then fail "no end of space"; fi
grep -q 'No space left' "$T/dd" || fail "not ENOSPC: $(cat "$T/dd")"
[ "$(stat -f -c %a "$M")" -lt 64 ] || fail "statfs shows space"
rm "$M/full"
echo again >"$M/again"
[ "$(cat "$M/again")" = again ] || fail "does not recover"
unmounts

# fstab's way: the helper that mount(8) calls.
PATH=$(dirname "$LH"):$PATH MOUNTS+=("$M")
runs 0 "$HELPER" "$POOL" "$M" -o rw,noauto,user,nosuid,listen=none,x-systemd.automount
grep -q " $M fuse.leasehold rw,nosuid" /proc/self/mounts || fail "options: $(grep " $M " /proc/self/mounts)"
[ "$(cat "$M/again")" = again ] || fail "by the helper"
unmounts
