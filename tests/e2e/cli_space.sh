#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L37): ranges, attributes, special files, snapshots, limits and the pool's size by the command: in process, over
# unix and over TCP.
. "$(dirname "$0")/lib.sh"

seq 1 100000 >"$T/numbers"
size=$(stat -c %s "$T/numbers")
[ "$size" -eq 588895 ] || fail "seq"

# all: every verb on $LEASEHOLD, which has nothing in it before and after
all() {
	"$LH" put "$T/numbers" /n

	runs 0 "$LH" cp /n /m
	"$LH" cat /m | cmp - "$T/numbers"
	runs 0 "$LH" map --json /m
	json 'all("shared" in e["what"] for e in j) and sum(e["len"] for e in j) >= 588895'
	runs 0 "$LH" cp --from 100 --length 1000 --to 5 /n /m
	"$LH" cat /m | cmp - <(head -c 5 "$T/numbers"; head -c 1100 "$T/numbers" | tail -c 1000; tail -c +1006 "$T/numbers")
	runs 1 "$LH" cp /n /n
	says 'same file'
	runs 1 "$LH" cp /none /m
	says '/none'
	runs 1 "$LH" dedupe /n /m
	says 'differ'
	runs 0 "$LH" cp /n /m
	"$LH" put "$T/numbers" /o
	runs 0 "$LH" dedupe /n /o
	runs 0 "$LH" map --json /o
	json 'all("shared" in e["what"] for e in j)'

	runs 0 "$LH" fallocate --collapse-range /m 4096 8192
	"$LH" cat /m | cmp - <(head -c 4096 "$T/numbers"; tail -c +12289 "$T/numbers")
	runs 0 "$LH" fallocate --insert-range /m 4096 8192
	runs 0 "$LH" map --data --json /m
	json '[e["what"] for e in j] == ["data", "hole", "data"] and j[1]["off"] == 4096 and j[1]["len"] == 8192'
	runs 0 "$LH" fallocate --zero-range /m 0 100
	"$LH" cat /m >"$T/m"
	head -c 100 "$T/m" | cmp - <(head -c 100 /dev/zero)
	runs 0 "$LH" fallocate --unshare-range /m 0 64K
	runs 0 "$LH" fallocate --punch-hole /m 0 4K
	runs 1 "$LH" fallocate --collapse-range /m 1 4096
	says 'collapse|multiple|block'
	runs 0 "$LH" fallocate /fresh 0 1M
	runs 0 "$LH" map --json /fresh
	json 'all(e["what"] == "unwritten" for e in j) and sum(e["len"] for e in j) == 1048576'
	runs 0 "$LH" map /fresh
	shows '^ +0 +[0-9]+ .*unwritten'
	runs 1 "$LH" exchange /n /m --length 1
	says 'block'
	"$LH" put "$T/numbers" /x
	runs 0 "$LH" fallocate --zero-range /x 0 "$size" --keep-size
	runs 0 "$LH" exchange /o /x
	"$LH" cat /x | cmp - "$T/numbers"
	runs 0 "$LH" defrag --json /n /x
	json 'len(j) == 2 and all(e["after"] <= e["before"] for e in j)'
	"$LH" cat /n | cmp - "$T/numbers"

	runs 0 "$LH" xattr set /n user.colour blue
	runs 1 "$LH" xattr set --create /n user.colour red
	runs 0 "$LH" xattr set --replace --hex /n user.colour 726564
	runs 0 "$LH" xattr get /n user.colour
	[ "$(cat "$T/out")" = red ] || fail "user.colour is $(cat "$T/out")"
	runs 0 "$LH" xattr list --json /n
	json 'j == {"user.colour": "726564"}'
	runs 1 "$LH" xattr get /n user.none
	runs 0 "$LH" xattr rm /n user.colour
	runs 0 "$LH" xattr list /n
	[ ! -s "$T/out" ] || fail "an attribute is left"
	runs 2 "$LH" xattr set /n user.colour
	runs 0 "$LH" acl --set user::rw-,user:1000:r--,group::r--,mask::r--,other::--- /n
	runs 0 "$LH" acl /n
	[ "$(tr '\n' , <"$T/out")" = 'user::rw-,user:1000:r--,group::r--,mask::r--,other::---,' ] || fail "acl: $(cat "$T/out")"
	runs 1 "$LH" acl --set user:1000:r-- /n
	runs 0 "$LH" acl --remove /n
	runs 0 "$LH" acl /n
	[ "$(wc -l <"$T/out")" -eq 3 ] || fail "acl: $(cat "$T/out")"
	runs 2 "$LH" acl --set user:bob:r-- /n

	runs 0 "$LH" mknod --mode 600 /pipe p
	runs 0 "$LH" ls -l /
	shows '^prw------- .* pipe$'
	runs 1 "$LH" cat /pipe
	runs 2 "$LH" mknod /null c
	if [ "$(id -u)" -eq 0 ]; then
		runs 0 "$LH" mknod /null c 1 3
		runs 0 "$LH" stat --json /null
		json 'j["type"] == "character device" and (j["major"], j["minor"]) == (1, 3)'
		runs 0 "$LH" rm /null
	fi

	runs 0 "$LH" mkdir -p /tree/sub
	"$LH" put "$T/numbers" /tree/sub/n
	runs 0 "$LH" snapshot list
	shows 'no snapshots'
	runs 0 "$LH" snapshot create --read-only /tree /monday
	runs 0 "$LH" snapshot create /tree /tuesday
	runs 0 "$LH" truncate /tree/sub/n 5
	"$LH" cat /monday/sub/n | cmp - "$T/numbers"
	runs 1 "$LH" truncate /monday/sub/n 5
	says '[Rr]ead-only'
	runs 0 "$LH" truncate /tuesday/sub/n 3
	runs 0 "$LH" snapshot list --json
	json 'sorted((e["path"], e["read_only"], e["inodes"]) for e in j) == [("/monday", True, 3), ("/tuesday", False, 3)]'
	runs 0 "$LH" stat /monday
	shows 'snapshot: root, read-only'
	runs 1 "$LH" snapshot delete /tree
	runs 0 "$LH" snapshot delete /monday /tuesday
	runs 2 "$LH" snapshot create /tree

	runs 0 "$LH" limit set --tree /tree --bytes 64K --inodes 5
	runs 0 "$LH" limit show --tree /tree --json
	json 'j[0]["kind"] == "tree" and j[0]["bytes"] == 65536 and j[0]["inodes_used"] == 3'
	runs 1 "$LH" fallocate /tree/big 0 1M
	says '[Qq]uota|limit'
	runs 0 "$LH" limit set --uid 4711 --bytes 1M
	runs 0 "$LH" limit set --uid 4711 --inodes 9
	runs 0 "$LH" limit show
	shows '^tree +[0-9]+ .*64 KiB .*%'
	shows '^uid +4711 .*1.0 MiB .* 9 '
	runs 0 "$LH" limit set --uid 4711 --bytes 0 --inodes 0
	runs 0 "$LH" limit show --uid 4711
	shows 'no limits'
	runs 0 "$LH" limit set --tree /tree --bytes 0 --inodes 0
	runs 2 "$LH" limit set --bytes 5
	runs 2 "$LH" limit forget

	runs 0 "$LH" resize --progress 96M
	shows ' has 96 MiB now'
	runs 0 "$LH" stat --json
	json 'j["blocks"] == 96 * 256'
	runs 1 "$LH" resize 1M
	says '16 MiB'
	runs 0 "$LH" evacuate --json 30M 64K
	json 'j == []'
	runs 0 "$LH" resize 64M
	"$LH" cat /n | cmp - "$T/numbers"
	runs 0 "$LH" rm -r /n /m /o /x /fresh /pipe /tree
	runs 1 "$LH" rm /tree
}

for how in pool unix tcp; do
	make_pool 64M
	LEASEHOLD=$POOL
	if [ $how != pool ]; then
		serve --listen "unix:$T/s.$how" --listen tcp:127.0.0.1:0 --tcp-as "$(id -u):$(id -g)"
		LEASEHOLD=$UNIX
		[ $how = unix ] || LEASEHOLD=$TCP
	fi
	export LEASEHOLD
	all
	runs 0 "$LH" ls /
	grep -qv '^lost+found$' "$T/out" && fail "left in $how: $(cat "$T/out")"
	unset LEASEHOLD
	if [ $how != pool ]; then
		kill -TERM "$SERVER"
		wait "$SERVER"
	fi
	runs 0 "$LH" fsck "$POOL"
done
true
