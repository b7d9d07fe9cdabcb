#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: every command of a page runs, as written (blocks marked `sh run`; in the README the two make commands are CI
# itself).
#	readme.sh [PAGE]	from the root of the sources; README.md
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
DIR=$(mktemp -d)
export DIR
cleanup() {
	local pids
	pids=$(jobs -p)
	[ -z "$pids" ] || kill $pids 2>/dev/null || true
	fusermount3 -u -z "$DIR/mnt" 2>/dev/null || true
	rm -rf "$DIR"
}
trap cleanup EXIT
PATH=$(dirname "$LEASEHOLD_BIN"):$PATH
# Blocks marked `sh run fuse` only where there is one.
marks='^```sh run$'
[ ! -w /dev/fuse ] || marks='^```sh run( fuse)?$'
awk -v marks="$marks" '$0 ~ marks {on=1; next} /^```$/ {on=0} on' "$here/${1:-README.md}" >"$DIR/commands"
[ "$(wc -l <"$DIR/commands")" -ge 10 ]
# Left behind by a command that failed: the shell's children end with it.
bash -euo pipefail -c 'trap "kill \$(jobs -p) 2>/dev/null || true" EXIT; . "$DIR/commands"'
