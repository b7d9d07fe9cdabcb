#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# tar round trip: a tree with every kind of thing, owner, mode, time to the nanosecond, hard link, hole, attribute and ACL is packed,
# unpacked, compared by tar and by a listing; and the listing has what was put there, so that nothing is lost on both ways.
. "$(dirname "$0")/lib.sh"
need tar getfattr setfattr getfacl setfacl sha256sum

a=$W/a
mkdir -p "$a/deep/er/est" "$a/empty"
cd "$a"
seq 1 30000 >numbers
random_file deep/random 3 7
: >deep/nothing
echo script >deep/run.sh
chmod 0751 deep/run.sh
chmod 0400 deep/nothing
chmod 6755 "$(cp numbers suid && echo suid)"
chmod 1777 empty
ln -s ../numbers deep/link
ln -s /nowhere/at/all dangling
ln -s "$(printf 'x%.0s' $(seq 900))" long
ln numbers deep/er/same
ln numbers deep/again
mkfifo deep/fifo
name=$(printf 'n%.0s' $(seq 255))
echo "$name" >"$name"
printf 'name' >"with space and ü and 'quotes' and	tab"
for i in $(seq 300); do echo "$i" >"deep/er/est/file$i"; done
truncate -s 40M sparse
printf 'in the middle' | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
printf 'at the end' | dd of=sparse bs=1 seek=41943030 conv=notrunc status=none
xattrs=0
if setfattr -n user.short -v value numbers 2>/dev/null; then
	xattrs=1
	setfattr -n user.empty numbers
	setfattr -n user.binary -v 0s"$(head -c 600 deep/random | base64 -w 0)" deep/run.sh
	setfattr -n user.dir -v d empty
	setfacl -m u:12345:r,g:23456:rwx deep/run.sh
	setfacl -d -m u:12345:rwx deep/er
fi
if is_root; then
	chown 1234:5678 deep/run.sh deep/er
	chown -h 1:2 dangling
	chown 70000:80000 deep/nothing
	chmod 6755 suid
	mknod device c 1 3
	mknod block b 7 200
	[ $xattrs -eq 0 ] || setfattr -n trusted.mark -v t deep/random
fi
touch -d '2001-02-03 04:05:06.789012345' numbers deep/run.sh
touch -h -d '2002-03-04 05:06:07.000000001' dangling
touch -d '1969-12-31 23:59:58.5 UTC' deep/nothing
touch -d '2100-01-01 00:00:00.25 UTC' deep/er empty deep .
cd "$W"
said "made a tree of $(find a | wc -l) things"

pack=(--format=posix --sparse --xattrs '--xattrs-include=*' --acls --numeric-owner)
runs tar -c "${pack[@]}" -f all.tar -C a .
mkdir b
runs tar -x "${pack[@]}" -p -f all.tar -C b
runs tar --compare "${pack[@]}" -f all.tar -C b
runs tar --compare "${pack[@]}" -f all.tar -C a
listing a >"$S/a.list"
listing b >"$S/b.list"
diff "$S/a.list" "$S/b.list" >"$S/diff" || fail "the trees differ: $(head -n 10 "$S/diff")"
said "packed, unpacked, compared"

# It is what was put there.
has() {
	grep -Eq -- "$1" "$S/b.list" || fail "the listing has no line like: $1"
}
has '^numbers f 644 [0-9]+ [0-9]+ 168894 981173106\.7890123450 +3$'
has '^deep/nothing f 400 '
[ "$(stat -c %.9Y b/deep/nothing)" = -1.500000000 ] || fail "a time before 1970: $(stat -c %.9Y b/deep/nothing)"
has '^empty d 1777 .* 4102444800\.2500000000 '
has '^suid f 6755 '
has '^deep/fifo p '
has "^$name f "
has '^same numbers deep/again$|^same deep/again numbers$|^same deep/er/same deep/again$'
[ "$(grep -c '^same ' "$S/b.list")" -eq 3 ] || fail "hard links: $(grep '^same ' "$S/b.list")"
[ "$(stat -c %s b/sparse)" -eq 41943040 ] || fail "the sparse file has another size"
[ "$(stat -c %b b/sparse)" -lt 2048 ] || fail "the sparse file has $(stat -c %b b/sparse) blocks of 512 bytes"
cmp a/sparse b/sparse
[ "$(cat b/deep/link | wc -l)" -eq 30000 ] || fail "the symbolic link"
if [ $xattrs -eq 1 ]; then
	has '^user.empty(=0x)?$'
	has '^user.short=0x76616c7565$'
	has '^user:12345:r--'
	has '^default:user:12345:rwx'
fi
if is_root; then
	has '^deep/run.sh f .* 1234 5678 '
	has '^dangling l 777 1 2 '
	has '^deep/nothing f 400 70000 80000 '
	[ "$(stat -c '%t,%T' b/device b/block | tr '\n' ' ')" = "1,3 7,c8 " ] || fail "device numbers: $(stat -c '%t,%T' b/device b/block)"
fi
said "owners, modes, times, links, holes, attributes as they were put there"

# cp -a and mv keep the same.
cp -a a c
listing c >"$S/c.list"
diff "$S/a.list" "$S/c.list" >"$S/diff" || fail "cp -a makes another tree: $(head -n 10 "$S/diff")"
mkdir d
mv c d/c
listing d/c >"$S/c.list"
diff "$S/a.list" "$S/c.list" >"$S/diff" || fail "mv makes another tree: $(head -n 10 "$S/diff")"
said "cp -a and mv"
