#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L39): whatever is not a usable pool is refused with what, where, and what to do.
. "$(dirname "$0")/lib.sh"

runs 1 "$LH" -p "$T/missing" ls /
says 'missing'

head -c 20000000 /dev/urandom >"$T/noise"
truncate -s 20000768 "$T/noise"
truncate -s 20480000 "$T/noise"
runs 1 "$LH" -p "$T/noise" ls /
says 'noise'

truncate -s 5000 "$T/short"
runs 1 "$LH" -p "$T/short" ls /
says 'short'

runs 1 "$LH" mkfs --size 1M "$T/small"
says '16 MiB'
[ ! -e "$T/small" ] || fail "a file is left of the pool that was not made"
runs 1 "$LH" mkfs --size 16M "$T"
says "$T"
runs 1 "$LH" mkfs --size 16M "$T/no/such/place"
says 'no/such/place'

runs 1 "$LH" -p mem:lots ls /
says 'mem:SIZE'

make_pool 16M
runs 1 "$LH" mkfs --size 16M "$POOL"
says 'exist|overwrite|content'
runs 0 "$LH" mkfs --size 16M --force "$POOL"
runs 0 "$LH" mkfs --size 16M --force --json "$POOL"
json 'j["size"] == 16 << 20 and j["class"] in ("cache-flush", "msync", "volatile")'

# Cut behind our back.
cp "$POOL" "$T/cut"
truncate -s 12M "$T/cut"
runs 1 "$LH" -p "$T/cut" ls /
says 'cut'
# 16 MiB is the least: longer pools that were cut are salvaged with what is left.
runs 1 "$LH" fsck --repair "$T/cut"
says 'cut'
"$LH" mkfs --size 32M "$T/long" >/dev/null
seq 1 200000 >"$T/numbers"
runs 0 "$LH" -p "$T/long" put "$T/numbers" /numbers
cp "$T/long" "$T/cut2"
truncate -s 20M "$T/cut2"
runs 1 "$LH" -p "$T/cut2" ls /
says '2\.1f.*truncated'
runs 3 "$LH" fsck "$T/cut2"
shows '2\.1f'
runs 4 "$LH" fsck --repair "$T/cut2"
runs 0 "$LH" fsck "$T/cut2"
runs 0 "$LH" -p "$T/cut2" ls /
truncate -s $((20 * 1048576 + 100)) "$T/cut2"
runs 1 "$LH" fsck --repair "$T/cut2"
says 'cut2'

# Empty; another program's file; zeroes; a directory.
: >"$T/empty"
head -c 16777216 <(seq 1 4000000) >"$T/text"
head -c 16777216 /dev/zero >"$T/zeroes"
for bad in empty text zeroes; do
	cp "$T/$bad" "$T/before"
	runs 1 "$LH" -p "$T/$bad" ls /
	says "$bad"
	runs 1 "$LH" fsck "$T/$bad"
	says "$bad"
	runs 1 "$LH" fsck --repair "$T/$bad"
	says "$bad"
	runs 1 "$LH" dump "$T/$bad"
	says "$bad"
	cmp "$T/$bad" "$T/before" || fail "$bad was written to"
done
runs 1 "$LH" fsck --repair "$T"

# The copy of another pool in the last block: the pool works, fsck says it, a writable mount or repair puts it right.
"$LH" mkfs --size 32M "$T/other" >/dev/null
cp "$T/long" "$T/swapped"
dd if="$T/other" of="$T/swapped" bs=4096 skip=8191 seek=8191 count=1 conv=notrunc status=none
runs 3 "$LH" fsck "$T/swapped"
shows '2\.2a'
runs 4 "$LH" fsck --repair "$T/swapped"
cmp "$T/swapped" "$T/long" || fail "the repaired copy is not what it was"

# Block 0 of another pool: its root word leads nowhere here.
cp "$T/long" "$T/foreign"
dd if="$T/other" of="$T/foreign" bs=4096 count=1 conv=notrunc status=none
runs 1 "$LH" -p "$T/foreign" ls /
says 'foreign'
got=0
"$LH" fsck "$T/foreign" >"$T/out" 2>"$T/err" || got=$?
[ "$got" -eq 3 ] || [ "$got" -eq 1 ] || fail "fsck of a foreign block 0: status $got"
# Block 0 lost: the copy names the pool.
dd if=/dev/zero of="$T/foreign" bs=4096 count=1 conv=notrunc status=none
runs 3 "$LH" fsck "$T/foreign"
shows '2\.1a'
runs 4 "$LH" fsck --repair "$T/foreign"
runs 0 "$LH" -p "$T/foreign" cat /numbers
cmp "$T/out" "$T/numbers" || fail "the file is not what it was"

# Owned by another process: the message names it.
serve --listen "unix:$T/s"
runs 1 "$LH" -p "$POOL" ls /
says "$SERVER"
runs 1 "$LH" mkfs --force --size 16M "$POOL"
says "$SERVER"

# Addresses.
runs 1 "$LH" -p "unix:$T/nobody" ls /
says 'nobody'
runs 1 "$LH" -p tcp:127.0.0.1:1 ls /
says '127\.0\.0\.1:1'
runs 1 "$LH" -p tcp:127.0.0.1 ls /
says 'tcp:127\.0\.0\.1'

# Paths.
long=$(printf 'a%.0s' $(seq 300))
runs 1 "$LH" -p "unix:$T/s" mkdir "/$long"
says 'long|255'
path=$(printf '/aaaaaaaaa%.0s' $(seq 450))
runs 1 "$LH" -p "unix:$T/s" ls "$path"
says 'long|4096'
runs 1 "$LH" -p "unix:$T/s" ls /not/there
says '/not/there'
