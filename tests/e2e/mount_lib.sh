# SPDX-License-Identifier: BSD-2-Clause
# Sourced after lib.sh by the scripts that mount: $M is the mount point; all mounts end with the script.
[ -r /dev/fuse ] && [ -w /dev/fuse ] || { echo "skipped: no /dev/fuse that this user may open"; exit 77; }
command -v fusermount3 >/dev/null || { echo "skipped: no fusermount3 (package fuse3)"; exit 77; }
"$LH" mount --help >"$T/out"
! "$LH" -p /dev/null mount "$T" 2>&1 | grep -q 'built without FUSE' || { echo "skipped: built without FUSE"; exit 77; }
unset XDG_RUNTIME_DIR

HELPER=$(cd "$(dirname "$0")/../.." && pwd)/scripts/mount.fuse.leasehold
MOUNTS=()
M=$T/m
mkdir "$M"

end_mounts() {
	local dir
	cd /
	for dir in "${MOUNTS[@]}"; do
		fusermount3 -u -z "$dir" 2>/dev/null || umount -l "$dir" 2>/dev/null || true
	done
}
trap 'end_mounts; cleanup' EXIT

# mounts WHAT [OPTIONS...]: on $M
mounts() {
	local what=$1
	shift
	MOUNTS+=("$M")
	timeout 20 "$LH" mount "$@" "$what" "$M" 2>"$T/err" || fail "mount $*: $(cat "$T/err")"
	mountpoint -q "$M" || fail "nothing is mounted on $M"
}

# unmounts: $M, and its daemon has closed everything
unmounts() {
	cd /
	runs 0 timeout 20 "$LH" umount "$M"
	! mountpoint -q "$M" || fail "$M is still mounted"
}

# pid of the daemon behind $M
daemon() {
	getfattr --only-values -n system.leasehold.pid --absolute-names "$M"
}

# gone PID: the process ends within 10 s
gone() {
	for _ in $(seq 200); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.05
	done
	fail "process $1 does not end"
}
