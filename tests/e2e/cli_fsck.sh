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

# Repair of a sound pool stores nothing; of that one it is done in two places, and then there is nothing more to do.
cp "$POOL" "$T/sound"
runs 0 "$LH" fsck --repair "$POOL"
cmp "$POOL" "$T/sound" || fail "repair of a sound pool wrote to it"
runs 3 "$LH" fsck --repair --dry-run "$T/bad"
cmp "$T/bad" "$T/bad2" || fail "a dry run changed the pool"
runs 4 "$LH" fsck --repair "$T/bad"
shows 'repaired: '
runs 0 "$LH" fsck --repair "$T/bad"
runs 0 "$LH" fsck "$T/bad"
"$LH" -p "$POOL" get -r /copy "$T/copy1"
"$LH" -p "$T/bad" get -r /copy "$T/copy2"
same_tree "$T/copy1" "$T/copy2"

# A sector of names: the checkpoint before and the log say what was in it.
cp "$T/sound" "$T/torn"
chunk=$("$LH" dump "$T/torn" | sed -n 's/^\([0-9]*\)+0 chunk:.*/\1/p' | head -n 1)
name=$("$LH" dump "$T/torn" | sed -n "s/^$chunk+\([0-9]*\) dirent:.*name=\"numbers\".*/\1/p" | head -n 1)
dd if=/dev/zero of="$T/torn" bs=1 seek=$((chunk * 4096 + name)) count=24 conv=notrunc status=none
runs 3 "$LH" fsck "$T/torn"
shows 'format 3\.2c'
runs 1 "$LH" -p "$T/torn" ls /
says '3\.2c'
got=0
"$LH" dump "$T/torn" >"$T/out" 2>"$T/err" || got=$?
[ "$got" -eq 1 ] || fail "dump of a damaged pool: status $got"
shows '^# damage: format 3\.2c'
shows 'name="quotes|with space'
cp "$T/torn" "$T/torn2"
runs 4 "$LH" fsck --repair "$T/torn2"
shows 'repaired: 0 saved, 0 lost, 0 changed, 0 doubtful'
runs 0 "$LH" fsck "$T/torn2"
"$LH" -p "$T/torn2" get -r /copy "$T/copy3"
same_tree "$T/copy1" "$T/copy3"

# That one gone, too: what lost its name is in lost+found, with its content; the rest is as it was.
python3 - "$T/torn" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    pool = bytearray(f.read())
    root = int.from_bytes(pool[512:518], "little")
    for block in range(1, len(pool) // 4096):
        if pool[block * 4096:block * 4096 + 8] == b"LHCHKPT1" and block != root:
            f.seek(block * 4096)
            f.write(bytes(8))
PY
cp "$T/torn" "$T/torn2"
runs 4 "$LH" fsck --repair --json "$T/torn2"
json 'j["repaired"] and j["left"] == 0 and j["count"] > 0 and j["actions"] and all(a["kind"] in ("saved", "lost", "changed", "doubtful") for a in j["actions"])'
runs 4 "$LH" fsck --repair "$T/torn"
shows '^doubtful: '
runs 0 "$LH" fsck "$T/torn"
runs 0 "$LH" -p "$T/torn" ls -R /
runs 0 "$LH" -p "$T/torn" put "$T/source/numbers" /new
runs 0 "$LH" fsck "$T/torn"

# No pool at all.
head -c 16777216 /dev/zero >"$T/zero"
got=0
"$LH" fsck "$T/zero" >"$T/out" 2>"$T/err" || got=$?
[ "$got" -eq 1 ] || [ "$got" -eq 3 ] || fail "fsck of zeroes: status $got"
runs 1 "$LH" fsck "$T/missing"
says 'missing'
runs 1 "$LH" fsck --repair "$T/missing"
says 'missing'
cp "$T/zero" "$T/zero2"
runs 1 "$LH" fsck --repair "$T/zero"
says 'not a leasehold pool'
cmp "$T/zero" "$T/zero2" || fail "repair wrote to what is no pool"

# In use.
serve --listen "unix:$T/s"
runs 1 "$LH" fsck "$POOL"
says "$SERVER"
runs 1 "$LH" fsck --repair "$POOL"
says "$SERVER"
