#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: every verb does over unix and TCP what it does in process.
. "$(dirname "$0")/lib.sh"

make_tree "$T/source"
head -c 9000000 /dev/urandom >"$T/source/big"
make_pool 128M
serve --listen "unix:$T/s" --listen tcp:127.0.0.1:0 --tcp-as "$(id -u):$(id -g)"

for address in "$UNIX" "$TCP"; do
	rm -rf "$T/back"
	runs 0 "$LH" -p "$address" put -r --progress "$T/source" /copy
	says 'put: .*[1-9][0-9.]* MiB directly'
	runs 0 "$LH" -p "$address" get -r --progress /copy "$T/back"
	says 'get: .*[1-9][0-9.]* MiB directly'
	same_tree "$T/source" "$T/back"
	rm -rf "$T/back"
	runs 0 "$LH" -p "$address" get -r --calls --progress /copy "$T/back"
	says '\(0 B directly\)'
	same_tree "$T/source" "$T/back"

	runs 0 "$LH" -p "$address" ls -l /copy
	shows 'dangling -> /nowhere/at/all'
	runs 0 "$LH" -p "$address" ls --json -R /
	json 'any(e["path"] == "/copy/deep/random" and e["size"] == 3500000 for e in j)'
	runs 0 "$LH" -p "$address" clone /copy/big /clone
	"$LH" -p "$address" cat /clone | cmp - "$T/source/big"
	runs 0 "$LH" -p "$address" stat --json --extents /clone
	json 'j["extents"][0]["shared"]'
	runs 0 "$LH" -p "$address" relocate /copy/big
	"$LH" -p "$address" cat /copy/big | cmp - "$T/source/big"
	runs 0 "$LH" -p "$address" truncate /clone 5000
	"$LH" -p "$address" cat /clone | cmp - <(head -c 5000 "$T/source/big")
	runs 0 "$LH" -p "$address" punch /clone 0 4096
	"$LH" -p "$address" cat /clone | cmp - <(head -c 4096 /dev/zero; head -c 5000 "$T/source/big" | tail -c 904)
	runs 0 "$LH" -p "$address" mkdir -p /a/b/c
	runs 0 "$LH" -p "$address" ln -s b /a/link
	runs 0 "$LH" -p "$address" ln /clone /a/b/clone
	runs 0 "$LH" -p "$address" mv /a/b/clone /a/link/c
	runs 0 "$LH" -p "$address" stat /a/b/c/clone
	shows 'links: +2'
	runs 0 "$LH" -p "$address" stat --json
	json 'j["block_size"] == 4096 and j["avail_blocks"] > 0'
	runs 0 "$LH" -p "$address" leases --json
	json 'isinstance(j, list)'
	runs 0 env LEASEHOLD="$address" "$LH" rm -r /a /copy /clone
	runs 0 "$LH" -p "$address" ls /
	[ ! -s "$T/out" ] || fail "something is left"
done
# Other hosts are for when there is TLS.
runs 1 "$LH" -p mem:16M serve --listen tcp:0.0.0.0:0 --exit-after 1s
says 'TLS|loopback'
