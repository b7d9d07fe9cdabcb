#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L37): a tree that was put and got is the same tree: bytes, modes, times, links, holes.
. "$(dirname "$0")/lib.sh"

make_tree "$T/source"
make_pool 64M
"$LH" -p "$POOL" put -r "$T/source" /copy
"$LH" -p "$POOL" get -r /copy "$T/back"
same_tree "$T/source" "$T/back"

# Holes stay holes, on both sides.
runs 0 "$LH" -p "$POOL" stat --extents --json /copy/sparse
json 'j["size"] == 9 << 20 and j["blocks"] <= 16 and len(j["extents"]) >= 1'
[ "$(stat -c %b "$T/back/sparse")" -lt 1024 ] || fail "the hole became blocks"

# Hard links are links again.
runs 0 "$LH" -p "$POOL" stat --json /copy/numbers
json 'j["nlink"] == 2'
[ "$T/back/numbers" -ef "$T/back/deep/er/same" ] || fail "hard link lost"

# A second time over what is there, into a directory, and a single file.
"$LH" -p "$POOL" put -r -T "$T/source" /copy
"$LH" -p "$POOL" mkdir /into
"$LH" -p "$POOL" put -r "$T/source" /into
mkdir "$T/into"
"$LH" -p "$POOL" get -r /into/source "$T/into"
same_tree "$T/source" "$T/into/source"
"$LH" -p "$POOL" put "$T/source/deep/random" /into/
"$LH" -p "$POOL" cat /into/random | cmp - "$T/source/deep/random"

# The whole filesystem at once.
"$LH" -p "$POOL" rm -r /into
"$LH" -p "$POOL" get -r / "$T/all"
same_tree "$T/source" "$T/all/copy"

# What cannot be copied says so and does not stop the rest.
mkfifo "$T/source/fifo"
runs 1 "$LH" -p "$POOL" put -r -T "$T/source" /again
says 'fifo: left out'
runs 0 "$LH" -p "$POOL" ls /again/deep
runs 1 "$LH" -p "$POOL" put "$T/source" /d
says 'is a directory; give -r'
runs 1 "$LH" -p "$POOL" put "$T/missing" /d
says 'missing: No such file'
runs 1 "$LH" -p "$POOL" get /missing "$T/x"
says '/missing'

# --progress speaks although this is no terminal.
runs 0 "$LH" -p "$POOL" put --progress "$T/source/deep/random" /r
says '^put: 1 files, 3\.3 MiB'
