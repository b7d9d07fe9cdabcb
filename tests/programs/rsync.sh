#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# rsync of a big part of /usr, all attributes and hard links, twice with --checksum: the second run copies nothing and changes
# nothing. Then diff reads both trees; changes are made and rsync repairs exactly these.
# PROGRAMS_SCALE=2 and more: all of /usr.
. "$(dirname "$0")/lib.sh"
need rsync diff

# Parts until there are about so many KiB, the same on each run on one machine.
limit=$((150 * 1024))
from=()
if [ "$SCALE" -gt 1 ]; then
	from=(/usr)
else
	used=0
	for d in /usr/include /usr/share/zoneinfo /usr/share/perl /usr/lib/git-core /usr/share/doc /usr/lib/python3 /usr/sbin \
		/usr/lib/gcc /usr/share/locale /usr/bin /usr/lib/x86_64-linux-gnu; do
		[ -d "$d" ] || continue
		size=$(du -sk "$d" | cut -f 1)
		[ $((used + size)) -le $((limit + 51200)) ] || continue
		from+=("$d")
		used=$((used + size))
		[ "$used" -lt "$limit" ] || break
	done
fi
[ "${#from[@]}" -gt 0 ] || skip "/usr has nothing to copy"
# Owners are only root's to give.
keep=(-aHS --relative)
! is_root || keep+=(-AX)

to=$W/copy
mkdir "$to"
runs rsync "${keep[@]}" --checksum "${from[@]}" "$to"
count=$(find "$to" | wc -l)
said "${from[*]}: $count things, $(du -sm "$to" | cut -f 1) MiB copied"
rsync "${keep[@]}" --checksum --itemize-changes --stats "${from[@]}" "$to" >"$S/second"
grep -q '^Number of regular files transferred: 0$' "$S/second" || fail "the second run copied: $(grep '^>' "$S/second" | head -n 5)"
! grep -E '^[<>ch.*][fdLDS*]' "$S/second" >&2 || fail "the second run changed something"
said "the second run copied nothing"
for d in "${from[@]}"; do
	diff -r --no-dereference "$d" "$to$d" >"$S/diff" 2>&1 || fail "$d and its copy differ: $(head -n 5 "$S/diff")"
done
said "diff sees no difference"

# Damage of every kind, and its repair.
mapfile -t some < <(find "$to" -type f -size +8k | sort | awk 'NR % 97 == 1' | head -n 40)
i=0
for f in "${some[@]}"; do
	# Another name for the same file must not get it.
	cp --remove-destination -p "$f" "$f.tmp" && mv "$f.tmp" "$f"
	case $((i % 4)) in
	0) printf 'x' | dd of="$f" bs=1 seek=4097 conv=notrunc status=none ;;
	1) truncate -s 100 "$f" ;;
	2) rm "$f" ;;
	3) chmod 000 "$f" ;;
	esac
	i=$((i + 1))
done
runs rsync "${keep[@]}" --checksum --inplace "${from[@]}" "$to"
rsync "${keep[@]}" --checksum --itemize-changes "${from[@]}" "$to" >"$S/third"
! grep -E '^[<>ch.*][fdLDS*]' "$S/third" >&2 || fail "after the repair there is something to do"
[ "$(find "$to" | wc -l)" -eq "$count" ] || fail "there are other things than before"
said "$i damaged files repaired"
