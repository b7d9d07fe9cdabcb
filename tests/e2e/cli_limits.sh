#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: every limit has both sides: the last that works and the first that does not, with a message that names the limit.
# And no verb knows an option or takes a number that it does not understand.
. "$(dirname "$0")/lib.sh"

long() {
	printf 'n%.0s' $(seq "$1")
}

# Sizes of pools.
for bad in 0 1 16777215 15.99M 17592186044417 16.1T 17T; do
	runs 1 "$LH" mkfs --size "$bad" "$T/never"
	says '16 MiB|16 TiB'
	[ ! -e "$T/never" ] || fail "--size $bad left a file"
done
for bad in -1 -16M 99999999999999999999 18446744073709551616 16X lots '' ' ' 0x1000000 1e9 16M16 nan 16MM; do
	runs 2 "$LH" mkfs --size "$bad" "$T/never"
	says "size"
	[ ! -e "$T/never" ] || fail "--size $bad left a file"
done
runs 0 "$LH" mkfs --size 16777216 "$T/least"
runs 1 "$LH" mkfs --size 16T "$T/never"
says 'space|large'
[ ! -e "$T/never" ] || fail "a pool that has no room left a file"
for bad in mem:0 mem: mem:-5 mem:16777215 mem:17T mem:16Mx; do
	runs 1 "$LH" -p "$bad" ls /
	says 'mem:|16 MiB'
done

# Names of 255 and 256 bytes, paths of 4096 and 4097, in process and over a socket.
make_pool 16M
serve --listen "unix:$T/s"
name=$(long 255)
deep=/$(long 200)
while [ ${#deep} -le $((4096 - 2 - 201)) ]; do deep=$deep/$(long 200); done
path4096=$deep/$(long $((4096 - ${#deep} - 1)))
[ ${#path4096} -eq 4096 ] || fail "the path has ${#path4096} bytes"
names() {
	local at=$1
	runs 0 "$LH" -p "$at" mkdir "/$name"
	runs 1 "$LH" -p "$at" mkdir "/${name}x"
	says '255'
	runs 1 "$LH" -p "$at" mv "/$name" "/${name}x"
	says '255'
	runs 1 "$LH" -p "$at" ln -s target "/${name}x"
	says '255'
	runs 0 "$LH" -p "$at" mkdir --parents "$path4096"
	runs 0 "$LH" -p "$at" stat "$path4096"
	runs 1 "$LH" -p "$at" stat "${path4096}x"
	says '4096'
	runs 1 "$LH" -p "$at" mkdir "${path4096}x"
	says '4096'
	runs 1 "$LH" -p "$at" put "$T/s" "${path4096}x"
	runs 0 "$LH" -p "$at" ln -s "$(printf 't%.0s' $(seq 4095))" /target
	runs 1 "$LH" -p "$at" ln -s "$(printf 't%.0s' $(seq 4096))" /target2
	says '4095'
	runs 0 "$LH" -p "$at" rm -r "/$name" /target "${path4096%%/n*}/$(long 200)"
	runs 0 "$LH" -p "$at" ls /
	[ ! -s "$T/out" ] || fail "something is left"
}
names "$UNIX"

# Sizes and offsets of files.
echo content >"$T/file"
runs 0 "$LH" -p "$UNIX" put "$T/file" /f
for bad in -1 x '' 99999999999999999999 1.2.3; do
	runs 2 "$LH" -p "$UNIX" truncate -- /f "$bad"
	runs 2 "$LH" -p "$UNIX" punch -- /f "$bad" 4096
	runs 2 "$LH" -p "$UNIX" punch -- /f 0 "$bad"
	runs 2 "$LH" -p "$UNIX" relocate -- /f "$bad"
	runs 2 "$LH" -p "$UNIX" clone --from "$bad" /f /g
done
runs 1 "$LH" -p "$UNIX" truncate /f 9223372036854775808
says 'longer|large|9223372036854775807'
runs 0 "$LH" -p "$UNIX" truncate /f 9223372036854775807
runs 0 "$LH" -p "$UNIX" punch /f 9223372036854770000 5807
runs 0 "$LH" -p "$UNIX" relocate /f
runs 0 "$LH" -p "$UNIX" truncate /f 8
"$LH" -p "$UNIX" cat /f | cmp - "$T/file"
runs 1 "$LH" -p "$UNIX" clone --from 1 /f /g
says '4096|block'
runs 1 "$LH" -p "$UNIX" stat /g
says '/g'
runs 0 "$LH" -p "$UNIX" rm /f

# Options that nobody knows, arguments that are too many or missing; each verb says how it is used.
verbs=$("$LH" --help | sed -n "/^Verbs:/,/^Options:/s/^ \{2\}\([a-z][a-z]*\) .*/\1/p")
[ "$(echo "$verbs" | wc -w)" -ge 20 ] || fail "only these verbs in --help: $verbs"
for verb in $verbs; do
	[ "$verb" = help ] && continue
	runs 2 "$LH" -p "$UNIX" "$verb" --no-such-option
	says 'no-such-option|unrecognized|unknown'
	runs 2 "$LH" -p "$UNIX" "$verb" -Z
	says 'Z|unknown'
	runs 0 "$LH" "$verb" --help
	shows 'leasehold'
done
for verb in cat put get rm mkdir mv ln clone truncate punch relocate revoke; do
	runs 2 "$LH" -p "$UNIX" "$verb"
	says "$verb"
done
runs 2 "$LH" -p "$UNIX" nonsense
says 'nonsense'
runs 2 "$LH"
runs 2 "$LH" ls /
says 'LEASEHOLD|-p'
for bad in 70000 -1 x 127.0.0.1:0 ''; do
	runs 1 "$LH" -p "tcp:127.0.0.1:$bad" ls /
	says 'tcp:'
done
runs 1 "$LH" -p "unix:" ls /
says 'unix:'
runs 1 "$LH" -p "unix:/$(long 150)" ls /
says 'unix:|long|107'
for bad in '--deadline x' '--deadline -1s' '--tcp-as x' '--tcp-as 1' '--tcp-as 1:2:3' '--sessions x' '--sessions -1' '--socket-mode 9' '--exit-after x'; do
	# shellcheck disable=SC2086 # an option and its value
	runs 2 "$LH" -p mem:16M serve --exit-after 1s $bad
	says "serve: .*${bad##*[ :]}"
done
runs 0 "$LH" -p "$UNIX" stat
kill "$SERVER"
wait "$SERVER" || fail "the server ended with $?"
names "$POOL"
runs 0 "$LH" fsck "$POOL"
