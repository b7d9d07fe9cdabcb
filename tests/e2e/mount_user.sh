#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: a user mounts his own pool, and somebody's server with his own rights there; others stay outside (L37).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/mount_lib.sh"

[ "$(id -u)" -eq 0 ] || { echo "skipped: needs root to be two users"; exit 77; }
id nobody >/dev/null 2>&1 || { echo "skipped: no user nobody"; exit 77; }
USER_ID=$(id -u nobody)
as() {
	setpriv --reuid="$USER_ID" --regid="$USER_ID" --clear-groups -- env HOME="$T" "$@"
}
as test -x "$LH" || { echo "skipped: nobody may not run the command"; exit 77; }
chmod 755 "$T"
mkdir "$T/home"
chown "$USER_ID" "$T/home" "$M"
MOUNTS+=("$M")

# His own pool.
as "$LH" mkfs --size 64M "$T/home/pool" >/dev/null
runs 0 as timeout 20 "$LH" mount "$T/home/pool" "$M"
as sh -c "echo mine >'$M/f' && chmod 600 '$M/f'"
[ "$(as stat -c '%u %s' "$M/f")" = "$USER_ID 5" ] || fail "not his"
! ls "$M" 2>/dev/null || fail "root is let into a user's mount"
address=$(as getfattr --only-values -n system.leasehold.address --absolute-names "$M")
runs 0 as "$LH" -p "$address" cat /f
shows '^mine$'
runs 0 as timeout 20 "$LH" umount "$M"

# Somebody's server: the server checks.
make_pool 64M
serve --listen "unix:$T/sock" --socket-mode 666
"$LH" -p "$UNIX" mkdir -m 700 /closed
"$LH" -p "$UNIX" mkdir -m 777 /open
runs 1 as timeout 20 "$LH" mount -o allow_other "$UNIX" "$M"
says 'allow_other: .* does not let this user act for others'
runs 0 as timeout 20 "$LH" mount "$UNIX" "$M"
! as ls "$M/closed" 2>/dev/null || fail "listed a closed directory"
! as touch "$M/no" 2>/dev/null || fail "made a name in root's directory"
! as test -r "$M/closed" || fail "access(2) says that it may be read"
as sh -c "umask 022; echo his >'$M/open/f'"
[ "$(as stat -c '%u %a' "$M/open/f")" = "$USER_ID 644" ] || fail "owner: $(as stat -c '%u %a' "$M/open/f")"
[ "$(as cat "$M/open/f")" = his ] || fail "content"
runs 0 as timeout 20 "$LH" umount "$M"
