#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (L39): whatever is not a usable pool is refused with what, where, and what to do.
. "$(dirname "$0")/lib.sh"

runs 1 "$LH" -p "$T/missing" ls /
says 'missing'

head -c 20000000 /dev/urandom >"$T/noise"
truncate -s 20000768 "$T/noise"
truncate -s 20480000 "$T/noise"
runs 1 "$LH" -p "$T/noise" ls /
says 'noise'

truncate -s 5000 "$T/short"
runs 1 "$LH" -p "$T/short" ls /
says 'short'

runs 1 "$LH" mkfs --size 1M "$T/small"
says '16 MiB'
[ ! -e "$T/small" ] || fail "a file is left of the pool that was not made"
runs 1 "$LH" mkfs --size 16M "$T"
says "$T"
runs 1 "$LH" mkfs --size 16M "$T/no/such/place"
says 'no/such/place'

runs 1 "$LH" -p mem:lots ls /
says 'mem:SIZE'

make_pool 16M
runs 1 "$LH" mkfs --size 16M "$POOL"
says 'exist|overwrite|content'
runs 0 "$LH" mkfs --size 16M --force "$POOL"
runs 0 "$LH" mkfs --size 16M --force --json "$POOL"
json 'j["size"] == 16 << 20 and j["class"] in ("cache-flush", "msync", "volatile")'

# Cut behind our back.
cp "$POOL" "$T/cut"
truncate -s 12M "$T/cut"
runs 1 "$LH" -p "$T/cut" ls /
says 'cut'

# Owned by another process: the message names it.
serve --listen "unix:$T/s"
runs 1 "$LH" -p "$POOL" ls /
says "$SERVER"
runs 1 "$LH" mkfs --force --size 16M "$POOL"
says "$SERVER"

# Addresses.
runs 1 "$LH" -p "unix:$T/nobody" ls /
says 'nobody'
runs 1 "$LH" -p tcp:127.0.0.1:1 ls /
says '127\.0\.0\.1:1'
runs 1 "$LH" -p tcp:127.0.0.1 ls /
says 'tcp:127\.0\.0\.1'

# Paths.
long=$(printf 'a%.0s' $(seq 300))
runs 1 "$LH" -p "unix:$T/s" mkdir "/$long"
says 'long|255'
path=$(printf '/aaaaaaaaa%.0s' $(seq 450))
runs 1 "$LH" -p "unix:$T/s" ls "$path"
says 'long|4096'
runs 1 "$LH" -p "unix:$T/s" ls /not/there
says '/not/there'
