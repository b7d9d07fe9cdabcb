#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L39, I2): fsck is silent on a good pool and names the broken rule of a damaged one; mounting that is refused.
. "$(dirname "$0")/lib.sh"

make_pool 32M
runs 0 "$LH" fsck "$POOL"
make_tree "$T/source"
"$LH" -p "$POOL" put -r "$T/source" /copy
"$LH" -p "$POOL" clone /copy/deep/random /clone
"$LH" -p "$POOL" rm -r /copy/deep/er
runs 0 "$LH" fsck "$POOL"
runs 0 "$LH" fsck --json "$POOL"
python3 -m json.tool "$T/out" >/dev/null
runs 0 "$LH" dump "$POOL"
[ -s "$T/out" ] || fail "dump printed nothing"
runs 0 "$LH" dump --json "$POOL"
python3 -m json.tool "$T/out" >/dev/null

# One bit in each superblock copy.
cp "$POOL" "$T/bad"
python3 - "$T/bad" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    for block in (0, 1):
        f.seek(block * 4096 + 40)
        b = f.read(1)
        f.seek(block * 4096 + 40)
        f.write(bytes([b[0] ^ 4]))
PY
runs 3 "$LH" fsck "$T/bad"
runs 1 "$LH" -p "$T/bad" ls /
says 'bad'
cp "$T/bad" "$T/bad2"
cmp "$T/bad" "$T/bad2" || fail "looking changed the pool"

# No pool at all.
head -c 16777216 /dev/zero >"$T/zero"
got=0
"$LH" fsck "$T/zero" >"$T/out" 2>"$T/err" || got=$?
[ "$got" -eq 1 ] || [ "$got" -eq 3 ] || fail "fsck of zeroes: status $got"
runs 1 "$LH" fsck "$T/missing"
says 'missing'

# In use.
serve --listen "unix:$T/s"
runs 1 "$LH" fsck "$POOL"
says "$SERVER"
