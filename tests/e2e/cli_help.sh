#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: every verb explains itself with an example; wrong usage is status 2 with a clear message.
. "$(dirname "$0")/lib.sh"

runs 0 "$LH" --help
shows '^Exit status: 0 done; 1 failed.*2 wrong usage; 3 fsck'
verbs=$(sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p' "$T/out")
for verb in mkfs serve ls stat cat put get rm mkdir mv ln clone cp dedupe exchange truncate fallocate \
	punch relocate map defrag mknod xattr acl snapshot limit resize evacuate leases revoke fsck dump bench; do
	grep -qx "$verb" <<<"$verbs" || fail "no verb $verb in the help"
done
for verb in $verbs; do
	runs 0 "$LH" "$verb" --help
	shows '^Example:'
	shows "^(Example:)?  ?.*leasehold .*$verb"
	shows '^[Uu]sage: leasehold'
	runs 2 "$LH" "$verb" --no-such-option
	says "^leasehold $verb: .*no-such-option"
	grep -q "| \`$verb\`" "$(dirname "$0")/../../docs/cli.md" || fail "docs/cli.md has no line of $verb"
done

runs 2 "$LH"
runs 2 "$LH" frobnicate
says 'unknown verb frobnicate'
runs 2 "$LH" --frobnicate
says 'unknown option --frobnicate'
runs 2 "$LH" ls -Z /
says 'unknown option -Z'
runs 2 "$LH" ls -p
says 'option -p needs an argument'
runs 2 "$LH" cat
says 'which pool|nothing given'
runs 2 "$LH" ls
says 'which pool\? Give -p'
runs 2 "$LH" -p x ln a
says 'too few arguments; expected: TARGET LINK'
runs 2 "$LH" -p x truncate /f 12Q
says '12Q is not a size'
runs 2 "$LH" -p x truncate /f 99999999999T
says 'too large'
runs 2 "$LH" -p x mkdir -m 9 /d
says '9 is not an octal'
runs 2 "$LH" -p x serve --deadline soon
says 'soon is not a time'
runs 2 "$LH" -p x serve --listen /run/x
says 'write unix:PATH or tcp:'
runs 2 "$LH" -p x revoke
says 'which leases'
runs 2 "$LH" -p x mv -n --exchange /a /b
says 'contradict'
runs 2 "$LH" mkfs unix:/x
says "server's address"
runs 2 "$LH" fsck tcp:127.0.0.1:1
says "server's address"
runs 0 "$LH" --version
shows '^leasehold [0-9]+\.[0-9]+\.[0-9]+$'

# Output that does not arrive is a failure.
if [ -w /dev/full ]; then
	got=0
	"$LH" --version >/dev/full 2>"$T/err" || got=$?
	[ "$got" -le 1 ] || fail "status $got"
	make_pool 16M
	got=0
	"$LH" -p "$POOL" stat >/dev/full 2>"$T/err" || got=$?
	[ "$got" -eq 1 ] || fail "stat to a full device: status $got"
fi
