# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the scripts beside it: a directory of its own in $T, the command in $LH, servers that end with the script.
set -euo pipefail

LH=${LEASEHOLD_BIN:?the path of the leasehold command}
unset LEASEHOLD
T=$(mktemp -d "${TMPDIR:-/tmp}/lh-e2e.XXXXXX")
SERVERS=()

cleanup() {
	local status=$?
	for pid in "${SERVERS[@]}"; do
		kill -TERM "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	if [ $status -ne 0 ] && [ $status -ne 77 ]; then
		for f in "$T"/out "$T"/err "$T"/serve.*; do
			[ -s "$f" ] && { echo "--- $(basename "$f")"; head -c 4000 "$f"; } >&2
		done
	fi
	chmod -R u+rwX "$T" 2>/dev/null || true
	rm -rf "$T"
}
trap cleanup EXIT

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# runs STATUS COMMAND...: must exit with STATUS; output in $T/out, messages in $T/err
runs() {
	local want=$1 got=0
	shift
	"$@" >"$T/out" 2>"$T/err" || got=$?
	[ "$got" -eq "$want" ] || fail "$* exited with $got, not $want: $(head -c 500 "$T/err")"
}

# says REGEX: the last command's messages have it
says() {
	grep -Eq -- "$1" "$T/err" || fail "no '$1' in: $(cat "$T/err")"
}

# shows REGEX: the last command's output has it
shows() {
	grep -Eq -- "$1" "$T/out" || fail "no '$1' in: $(head -c 500 "$T/out")"
}

# json EXPRESSION: the last command's output is JSON, and the python expression over it (j) is true
json() {
	python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); assert eval(sys.argv[2]), j' "$T/out" "$1" ||
		fail "not true of the JSON: $1"
}

# make_pool SIZE: $POOL
make_pool() {
	POOL=$T/pool
	"$LH" mkfs --size "$1" --force "$POOL" >/dev/null
}

# serve ARGUMENTS...: serves $POOL; $SERVER is its pid, $UNIX and $TCP the addresses that it listens on
serve() {
	local log=$T/serve.$((${#SERVERS[@]} + 1))
	"$LH" -p "$POOL" serve --exit-after 300s "$@" >"$log" 2>&1 &
	SERVER=$!
	SERVERS+=("$SERVER")
	for _ in $(seq 600); do
		grep -q '^ready' "$log" && break
		kill -0 "$SERVER" 2>/dev/null || fail "the server ended: $(cat "$log")"
		sleep 0.05
	done
	grep -q '^ready' "$log" || fail "the server is not ready: $(cat "$log")"
	UNIX=$(sed -n 's/^ready.* \(unix:[^ ]*\).*/\1/p' "$log")
	TCP=$(sed -n 's/^ready.* \(tcp:[^ ]*\).*/\1/p' "$log")
}

# A tree of every kind of thing that a copy must keep.
make_tree() {
	mkdir -p "$1/deep/er/est" "$1/empty"
	seq 1 20000 >"$1/numbers"
	head -c 3500000 /dev/urandom >"$1/deep/random"
	: >"$1/deep/nothing"
	echo script >"$1/deep/run.sh"
	chmod 0751 "$1/deep/run.sh"
	chmod 0400 "$1/deep/nothing"
	ln -s ../numbers "$1/deep/link"
	ln -s /nowhere/at/all "$1/dangling"
	ln "$1/numbers" "$1/deep/er/same"
	truncate -s 9M "$1/sparse"
	printf 'in the middle' | dd of="$1/sparse" bs=1 seek=5000000 conv=notrunc status=none
	printf 'name' >"$1/with space and ü and 'quotes'"
	for i in $(seq 150); do echo "$i" >"$1/deep/er/est/file$i"; done
	touch -d '2001-02-03 04:05:06.789012345' "$1/numbers" "$1/deep/run.sh"
	touch -h -d '2002-03-04 05:06:07' "$1/dangling"
	chmod 0555 "$1/empty"
}

# What a copy must keep, one line an entry.
tree_list() {
	(cd "$1" && find . -printf '%P %y %m %s %T@ %l %n\n' | sed -E 's/^([^ ]*.* d [0-7]+) [0-9]+ /\1 - /' |
		sed -E 's/^(.* d [0-7]+ - [0-9.]+ ) [0-9]+$/\1/' | sort)
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

same_tree() {
	diff <(tree_list "$1") <(tree_list "$2") || fail "$1 and $2 differ"
}
