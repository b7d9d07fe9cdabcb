# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the jobs beside it, each of which is `JOB.sh DIR`: works in a directory of its own below DIR ($W), which may lie
# on any filesystem, and checks what the programs made of it. $S is a directory elsewhere. Status 0: all was right; 77: a
# program is missing. $SCALE (PROGRAMS_SCALE, 1): how much of everything.
set -euo pipefail

SCALE=${PROGRAMS_SCALE:-1}
JOB=$(basename "$0" .sh)
[ $# -eq 1 ] && [ -d "$1" ] || { echo "usage: $0 DIR" >&2; exit 2; }
W=$(mktemp -d "$(cd "$1" && pwd)/$JOB.XXXXXX")
S=$(mktemp -d "${TMPDIR:-/tmp}/lh-program.XXXXXX")
CHILDREN=()
export LC_ALL=C TZ=UTC
unset LEASEHOLD

cleanup() {
	local status=$?
	trap - EXIT
	for pid in "${CHILDREN[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
	wait
	if [ $status -ne 0 ] && [ $status -ne 77 ]; then
		for f in "$S"/*.log; do
			[ -s "$f" ] && { echo "--- $(basename "$f")"; tail -c 3000 "$f"; } >&2
		done
	fi
	cd /
	chmod -R u+rwX "$S" 2>/dev/null || true
	rm -rf "$S"
	# Removing everything is a check too: nothing may stay behind.
	if [ $status -eq 0 ] || [ "${PROGRAMS_KEEP:-}" = "" ]; then
		rm -rf "$W" || { [ $status -ne 0 ] || status=1; }
	fi
	exit $status
}
trap cleanup EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

fail() {
	echo "FAIL: $JOB: $*" >&2
	exit 1
}

skip() {
	echo "$JOB: $*"
	exit 77
}

# need PROGRAM...
need() {
	for p in "$@"; do
		command -v "$p" >/dev/null || skip "no $p here (scripts/install-deps installs it)"
	done
}

STARTED=$(date +%s%N)
# said TEXT: a line with the time since the last one
said() {
	local now
	now=$(date +%s%N)
	printf '%s: %s (%d ms)\n' "$JOB" "$*" $(((now - STARTED) / 1000000))
	STARTED=$now
}

# runs COMMAND...: its output goes to a log that is shown when it fails
RUNS=0
runs() {
	RUNS=$((RUNS + 1))
	local log=$S/$RUNS-$(basename "$1").log status=0
	"$@" >"$log" 2>&1 || status=$?
	[ $status -eq 0 ] || fail "$* ended with $status: $(tail -n 5 "$log")"
	rm -f "$log"
}

# The pool or server behind a directory on a mount of Leasehold; fails elsewhere.
address() {
	getfattr --absolute-names --only-values -n system.leasehold.address "$1" 2>/dev/null
}

is_root() {
	[ "$(id -u)" -eq 0 ]
}

# listing DIR [WITHOUT]: what a copy of a tree must keep, one line a thing: type, mode, owner, group, size, time, links' target,
# how many names; contents; attributes and ACLs.
listing() {
	(
		cd "$1"
		find . -type d -printf '%P %y %m %U %G - %T@ %l\n' -o -printf '%P %y %m %U %G %s %T@ %l %n\n' | sort
		find . -type f -print0 | sort -z | xargs -0 -r sha256sum
		# Which names are one file.
		find . -type f -links +1 -printf '%i %P\n' | sort -k2 |
			awk '{ if (!($1 in first)) first[$1] = $2; print "same", $2, first[$1] }'
		find . ! -type l -print0 | sort -z | xargs -0 -r getfattr -h -m '^(user|trusted)\.' -d -e hex 2>/dev/null || true
		find . ! -type l -print0 | sort -z | xargs -0 -r getfacl -np 2>/dev/null || true
	)
}

# random_file PATH MIB SEED: the same bytes for the same seed
random_file() {
	openssl enc -aes-128-ctr -nosalt -K "$(printf '%032x' "$3")" -iv 0 </dev/zero 2>/dev/null | head -c "$2M" >"$1" || true
	[ "$(stat -c %s "$1")" -eq $(($2 * 1048576)) ] || fail "$1 could not be made"
}
