#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# cp --reflink=auto of 1 GiB: on a mount of Leasehold it is a clone, made in milliseconds, without space of its own; the copy is
# right, stays right when the original changes, and the original when the copy does. Copies of sparse files, of parts, over
# existing files, and with other programs (cat, dd, install, mv across directories) are right.
. "$(dirname "$0")/lib.sh"
need cp cmp dd openssl

cd "$W"
mib=1024
clones=0
address . >/dev/null && clones=1
used() { stat -f -c '%b %f' . | awk '{ print $1 - $2 }'; }

random_file "$S/some" 32 5
for i in $(seq $((mib / 32))); do
	head -c $(((32 << 20) - 4096)) "$S/some"
	printf '%4096d' "$i"
done >big
sync big
said "$mib MiB written"
before=$(used)
start=$(date +%s%N)
cp --reflink=auto big copy
took=$((($(date +%s%N) - start) / 1000000))
after=$(used)
said "cp --reflink=auto of $mib MiB took $took ms, $((($after - $before) * $(stat -f -c %S .) >> 10)) KiB more used"
cmp big copy || fail "the copy is another"
if [ $clones -eq 1 ]; then
	[ "$took" -lt 500 ] || fail "$took ms is no clone"
	# Others may use space meanwhile (a companion): a clone needs next to none.
	[ $(((after - before) * $(stat -f -c %S .))) -lt $((64 << 20)) ] || fail "the copy has space of its own"
	if [ -n "${LEASEHOLD_BIN:-}" ]; then
		from=$(address .)
		inside=${W#"$(findmnt -n -o TARGET -T .)"}
		"$LEASEHOLD_BIN" -p "$from" map --json "$inside/copy" >"$S/map"
		python3 - "$S/map" $((mib << 20)) <<'END' || fail "the copy's blocks are not shared: $(head -c 600 "$S/map")"
import json, sys
runs = json.load(open(sys.argv[1]))
shared = sum(r["len"] for r in runs if "shared" in r["what"])
sys.exit(0 if shared >= int(sys.argv[2]) * 9 // 10 else f"{shared} bytes are shared")
END
	fi
fi
rm big copy
said "the copy is right, its blocks are shared: $clones"

# Each of the two changes on its own.
change() {
	printf 'changed' | dd of="$1" bs=1 seek=$((5 * 4096 + 17)) conv=notrunc status=none
	dd if=/dev/zero of="$1" bs=1M seek=10 count=3 conv=notrunc status=none
	truncate -s 31M "$1"
}
cp "$S/some" changed
change changed
cp --reflink=auto "$S/some" big
for round in 1 2 3; do
	cp --reflink=auto big copy
	cp --reflink=auto copy third
	change copy
	cmp "$S/some" big || fail "the original changed with its copy"
	cmp changed copy || fail "the changed copy is another"
	cp --reflink=auto big second
	change big
	cmp changed big || fail "the changed original is another"
	cmp "$S/some" second || fail "the second copy changed with the original"
	cmp "$S/some" third || fail "a copy's copy changed"
	rm big copy third
	cmp "$S/some" second || fail "a copy changed when the others were removed"
	mv second big
done
rm big changed
said "originals and copies change on their own"

# Odd sizes and places.
random_file odd 3 6
truncate -s -1234 odd
truncate -s +20M odd
printf 'end' >>odd
for way in "cp --reflink=auto --sparse=auto" "cp --sparse=always" "cp --sparse=never" "cp --reflink=never -p" "install -m 600"; do
	$way odd way
	cmp odd way || fail "$way makes another file"
	$way odd way || fail "$way over an existing file"
	cmp odd way || fail "$way over an existing file makes another"
	rm way
done
cat odd >way && cmp odd way
dd if=odd of=way bs=77777 status=none && cmp odd way
dd if=odd of=way bs=1M iflag=direct oflag=direct status=none 2>"$S/direct" && cmp odd way || true
python3 - odd part <<'END'
# copy_file_range at every kind of offset, against the same done in memory.
import os, random, sys
rnd = random.Random(7)
src = os.open(sys.argv[1], os.O_RDONLY)
dst = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
data = open(sys.argv[1], "rb").read()
model = bytearray()
for i in range(300):
    a, b, n = rnd.randrange(len(data)), rnd.randrange(6 << 20), rnd.randrange(1, 1 << 20)
    if rnd.random() < 0.5:
        a, b, n = a & ~4095, b & ~4095, (n & ~4095) + 4096
    done = os.copy_file_range(src, dst, n, a, b)
    assert 0 < done <= n, (a, b, n, done)
    if len(model) < b + done:
        model.extend(bytes(b + done - len(model)))
    model[b:b + done] = data[a:a + done]
assert os.pread(dst, 64 << 20, 0) == bytes(model), "copy_file_range makes another file"
assert os.fstat(dst).st_size == len(model)
END
mkdir dir && mv odd dir/odd && cmp way dir/odd
said "every way of copying is right"
