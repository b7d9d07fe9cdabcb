#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L37): the verbs on names do what their namesakes do.
. "$(dirname "$0")/lib.sh"

make_pool 16M
export LEASEHOLD=$POOL
runs 0 "$LH" mkdir -m 700 /a
runs 1 "$LH" mkdir /a
says '/a'
runs 0 "$LH" mkdir -p /a/b/c /a/b
runs 1 "$LH" mkdir /x/y
echo one >"$T/one"
echo two >"$T/two"
runs 0 "$LH" put "$T/one" "$T/two" /a
runs 1 "$LH" put "$T/one" "$T/two" /nowhere
says 'not a directory'
runs 0 "$LH" cat /a/one /a/two
shows '^one$'
shows '^two$'
runs 1 "$LH" cat /a/one /a/none /a/two
says '/a/none'
shows '^two$'

runs 1 "$LH" mv -n /a/one /a/two
runs 0 "$LH" mv --exchange /a/one /a/two
runs 0 "$LH" cat /a/one
shows '^two$'
runs 0 "$LH" mv /a/one /a/b
runs 0 "$LH" mv -T /a/b/one /a/uno
runs 0 "$LH" mv /a/uno /a/two /a/b/c
runs 0 "$LH" ls /a/b/c
[ "$(cat "$T/out")" = "$(printf 'two\nuno')" ] || fail "listing: $(cat "$T/out")"

runs 0 "$LH" ln /a/b/c/two /t
runs 0 "$LH" ln -s a/b /s
runs 0 "$LH" ls /s
shows '^c$'
runs 0 "$LH" ls -d -l /s
shows 's -> a/b'
runs 0 "$LH" stat /s
shows '^type: +symlink'
runs 0 "$LH" stat -L /s
shows '^type: +directory'

runs 1 "$LH" rm /a
says 'give -r'
runs 1 "$LH" rm /none
runs 0 "$LH" rm -f /none
runs 0 "$LH" rm /s
runs 0 "$LH" rm -r /a /t
runs 0 "$LH" ls --json /
json 'j == []'

# A name cannot drive the terminal.
printf x >"$T/$(printf 'esc\033[31m')"
runs 0 "$LH" put "$T/$(printf 'esc\033[31m')" /
runs 0 "$LH" ls /
shows '^esc\?\[31m$'

# A full pool says so, and goes on working.
runs 1 "$LH" put /dev/null "$T/one" /nodir/
head -c 17000000 /dev/zero | tr '\0' 'x' >"$T/large"
runs 1 "$LH" put "$T/large" /large
says '[Ss]pace|full'
runs 0 "$LH" rm /large
runs 0 "$LH" put "$T/one" /one
runs 0 "$LH" fsck "$POOL"
