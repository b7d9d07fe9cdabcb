#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: a pool that is full to its last block refuses what needs space with ENOSPC and a sentence, allows everything that
# does not, always deletes, stays clean, and is as good as new afterwards. In process, over unix and over TCP.
. "$(dirname "$0")/lib.sh"

# does STATUSES COMMAND...: exits with one of them (as 0|1), says why when it is not 0
does() {
	local want=$1 got=0
	shift
	"$@" >"$T/out" 2>"$T/err" || got=$?
	[[ $got =~ ^($want)$ ]] || fail "$* exited with $got, not $want: $(head -c 500 "$T/err")"
	if [ $got -ne 0 ]; then
		says 'space|full|No room'
	fi
}

free_blocks() {
	"$LH" -p "$1" stat --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["avail_blocks"])'
}

head -c 1500000 /dev/urandom >"$T/original"
head -c 100000 /dev/urandom >"$T/small"
head -c 6000000 /dev/urandom >"$T/chunk"
head -c 4096 /dev/urandom >"$T/block"
mkdir "$T/tree"
for i in $(seq 30); do cp "$T/small" "$T/tree/$i"; done

# full ADDRESS: fills it and tries every verb
full() {
	local at=$1 before i
	before=$(free_blocks "$at")
	runs 0 "$LH" -p "$at" put "$T/original" /original
	runs 0 "$LH" -p "$at" put "$T/small" /small
	runs 0 "$LH" -p "$at" clone /original /shared
	runs 0 "$LH" -p "$at" mkdir /d
	runs 0 "$LH" -p "$at" ln -s /small /link
	# To the last block: large pieces, then single blocks.
	for i in 1 2 3; do
		does '0|1' "$LH" -p "$at" put "$T/chunk" "/fill.$i"
	done
	for i in $(seq 600); do
		"$LH" -p "$at" put "$T/block" "/fill.block.$i" 2>"$T/err" || break
	done
	says 'space|full'
	[ "$(free_blocks "$at")" -lt 64 ] || fail "$(free_blocks "$at") blocks are free in a full pool"

	# What needs space fails with a reason or happened as a whole; what does not works.
	does '1' "$LH" -p "$at" put "$T/chunk" /more
	does '1' "$LH" -p "$at" put -r "$T/tree" /tree
	does '0|1' "$LH" -p "$at" mkdir /e
	does '0|1' "$LH" -p "$at" mkdir -p /e/f/g/h
	does '0|1' "$LH" -p "$at" ln -s target /link2
	does '0|1' "$LH" -p "$at" ln /small /hard
	does '0|1' "$LH" -p "$at" mv /small /d/small
	does '0|1' "$LH" -p "$at" clone /original /shared2
	does '0|1' "$LH" -p "$at" relocate /original
	does '0|1' "$LH" -p "$at" truncate /original 1000000
	does '0|1' "$LH" -p "$at" truncate /shared 1000001
	does '0|1' "$LH" -p "$at" punch /original 5000 20000
	does '0|1' "$LH" -p "$at" punch /shared 5000 20000
	does '0|1' "$LH" -p "$at" truncate /original 90000000000
	runs 0 "$LH" -p "$at" ls -lR /
	runs 0 "$LH" -p "$at" stat --json
	runs 0 "$LH" -p "$at" stat --extents /original
	runs 0 "$LH" -p "$at" leases
	"$LH" -p "$at" cat /shared >"$T/back"
	cmp -n 5000 "$T/back" "$T/original"
	if "$LH" -p "$at" stat /d/small >/dev/null 2>&1; then
		"$LH" -p "$at" cat /d/small | cmp - "$T/small"
	else
		"$LH" -p "$at" cat /small | cmp - "$T/small"
	fi
	runs 0 "$LH" -p "$at" get /fill.1 "$T/back"
	cmp <(head -c 4096 "$T/back") <(head -c 4096 "$T/chunk")

	# Deleting always works, and gives it all back.
	runs 0 "$LH" -p "$at" rm -r $("$LH" -p "$at" ls / | sed 's|^|/|')
	runs 0 "$LH" -p "$at" ls /
	[ ! -s "$T/out" ] || fail "something is left: $(cat "$T/out")"
	[ "$(free_blocks "$at")" -ge $((before - 64)) ] || fail "$before blocks were free, now $(free_blocks "$at")"
	runs 0 "$LH" -p "$at" put -r "$T/tree" /tree
	runs 0 "$LH" -p "$at" get -r /tree "$T/tree.back"
	diff -r "$T/tree" "$T/tree.back"
	runs 0 "$LH" -p "$at" rm -r /tree
	rm -rf "$T/tree.back"
}

for mode in local unix tcp; do
	make_pool 16M
	if [ $mode = local ]; then
		full "$POOL"
	else
		serve --listen "unix:$T/s" --listen tcp:127.0.0.1:0 --tcp-as "$(id -u):$(id -g)"
		[ $mode = unix ] && full "$UNIX" || full "$TCP"
		kill "$SERVER"
		wait "$SERVER" || fail "the server ended with $?"
	fi
	runs 0 "$LH" fsck "$POOL"
done
