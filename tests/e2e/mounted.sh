#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (issue 5, 2): a program has a lease with one call on a path or descriptor in a mount, and `leasehold leases DIR/file`
# and the others work on mounted paths; FICLONE cannot pass FUSE, `leasehold clone DIR/a DIR/b` does it.
. "$(dirname "$0")/lib.sh"

[ -c /dev/fuse ] || { echo "skipped: no /dev/fuse"; exit 77; }
runs 0 "$LH" --help
grep -q '^  mount ' "$T/out" || { echo "skipped: built without libfuse3"; exit 77; }
MOUNTS=()
unmount() {
	for m in "${MOUNTS[@]}"; do
		umount "$m" 2>/dev/null || fusermount3 -u "$m" 2>/dev/null || fusermount3 -uz "$m" 2>/dev/null || true
	done
	[ -z "${HOLDER:-}" ] || kill "$HOLDER" 2>/dev/null || true
	cleanup
}
trap unmount EXIT

# mount_at DIR ARGUMENTS...
mount_at() {
	mkdir -p "$1"
	MOUNTS+=("$1")
	runs 0 "$LH" mount "${@:2}" "$1"
}

# What a user does with the mount at $1.
use() {
	local m=$1
	runs 0 "$MOUNTED_FILE" "$m"
	shows ok
	mkdir -p "$m/dir"
	head -c 300000 /dev/urandom >"$m/dir/a"
	sync "$m/dir/a"
	runs 0 "$LH" clone "$m/dir/a" "$m/dir/b"
	cmp "$m/dir/a" "$m/dir/b" || fail "the clone differs"
	runs 0 "$LH" map "$m/dir/b"
	shows 'shared'
	runs 0 "$LH" defrag "$m/dir/a" "$m/dir/b"
	cmp "$m/dir/a" "$m/dir/b" || fail "differ after defrag"
	# Beside each other: relative names, and a name with a blank.
	(cd "$m/dir" && "$LH" clone b "with blank" && cmp b "with blank") || fail "clone by relative names"
	runs 0 "$LH" dedupe "$m/dir/a" "$m/dir/b"
	runs 0 "$LH" relocate "$m/dir/a"
	runs 0 "$LH" stat --json "$m/dir/a"
	json "j['ino'] == $(stat -c %i "$m/dir/a") and j['path'] == '/dir/a'"
	ln -sf a "$m/dir/link"
	runs 0 "$LH" stat --json "$m/dir/link"
	json "j['type'] == 'symlink'"
	runs 0 "$LH" truncate "$m/dir/b" 1000
	[ "$(stat -c %s "$m/dir/b")" = 1000 ] || fail "the mount shows the old size"
	runs 0 "$LH" snapshot create "$m/dir" "$m/snap"
	cmp "$m/dir/a" "$m/snap/a" || fail "the snapshot differs"
	runs 0 "$LH" snapshot delete "$m/snap"
	runs 0 "$LH" limit set --tree "$m/dir" --bytes 10M
	runs 0 "$LH" limit show --tree "$m/dir" --json
	json "j[0]['bytes'] == 10 << 20"
	runs 0 "$LH" limit set --tree "$m/dir" --bytes 0
	# Who holds what.
	mkfifo "$T/fifo.$$"
	"$MOUNTED_FILE" -h "$m/dir/a" <"$T/fifo.$$" >"$T/held" 2>&1 &
	HOLDER=$!
	exec 7>"$T/fifo.$$"
	for _ in $(seq 200); do grep -q held "$T/held" && break; sleep 0.05; done
	grep -q held "$T/held" || fail "no lease: $(cat "$T/held")"
	runs 0 "$LH" leases --json "$m/dir/a"
	json "len([l for l in j if l['pid'] == $HOLDER]) == 1"
	runs 0 "$LH" -p "$m" leases --json
	json "len([l for l in j if l['pid'] == $HOLDER]) == 1"
	runs 0 "$LH" leases --json "$m/dir/b"
	json "len([l for l in j if l['pid'] == $HOLDER]) == 0"
	runs 0 "$LH" pins "$m/dir/a"
	runs 0 "$LH" revoke "$m/dir/a"
	exec 7>&-
	wait "$HOLDER" || fail "the holder failed: $(cat "$T/held")"
	HOLDER=
	rm "$T/fifo.$$"
}

# What serves a pool, and a server's.
make_pool 64M
mount_at "$T/m1" "$POOL"
use "$T/m1"
# A bind mount of a directory shows part of the filesystem.
if [ "$(id -u)" = 0 ] && mkdir "$T/bind" && mount --bind "$T/m1/dir" "$T/bind" 2>/dev/null; then
	MOUNTS=("$T/bind" "${MOUNTS[@]}")
	runs 0 "$LH" stat --json "$T/bind/a"
	json "j['path'] == '/dir/a'"
	runs 0 "$LH" clone "$T/bind/a" "$T/bind/c"
	cmp "$T/m1/dir/c" "$T/bind/a" || fail "the clone by a bind mount"
	umount "$T/bind"
fi
# Two filesystems; none.
POOL1=$POOL
POOL=$T/pool2
"$LH" mkfs --size 64M "$POOL" >/dev/null
serve --listen "unix:$T/sock"
mount_at "$T/m2" "$UNIX"
use "$T/m2"
runs 1 "$LH" clone "$T/m1/dir/a" "$T/m2/dir/x"
says 'are in different filesystems'
runs 1 "$LH" clone "$T/m1/dir/a" "$T/x"
says 'is not in the filesystem that .*/dir/a is in'
runs 2 "$LH" stat "$T"
says 'which pool\?'
runs 1 "$LH" -p "$POOL1.none" stat "$T/m1/dir/a"
says 'none'
runs 1 "$LH" stat "$T/m1/dir/none"
[ "$("$LH" -p "$T/m2" cat /dir/a | sha256sum)" = "$(sha256sum <"$T/m2/dir/a")" ] || fail "-p DIR"
umount "$T/m1" 2>/dev/null || fusermount3 -u "$T/m1"
# Nobody serves it.
sleep 0.2
runs 0 "$LH" mount --listen none "$POOL1" "$T/m1"
runs 1 "$LH" leases "$T/m1/dir/a"
says 'nothing serves the pool'
echo ok
