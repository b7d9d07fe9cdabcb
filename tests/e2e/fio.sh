#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal (issue 5, 5): fio with our engine writes, reads back and verifies, in process and over every data path, at every depth,
# while somebody moves the files; the jobs of examples/fio run; what cannot work is said.
# fio.sh [ENGINE]
. "$(dirname "$0")/lib.sh"

skip() {
	echo "skipped: $*"
	exit 77
}
ENGINE=${1:-}
[ -n "$ENGINE" ] || skip "the engine is not built: -Dfio_source is not given (scripts/fio-source makes what it wants)"
command -v fio >/dev/null || skip "fio is not installed"
export ENGINE
examples=$(cd "$(dirname "$0")/../../examples/fio" && pwd)
cd "$T" # fio leaves verify's state files where it runs

# run_fio ARGUMENTS...: one job; must succeed and say that it did what was asked
run_fio() {
	runs 0 timeout 120 fio --name=job "--ioengine=external:$ENGINE" "--filename=${FILE:-/data}" --size=8M --bs=4k --output-format=json "$@"
	sed -n '/^{/,$p' "$T/out" >"$T/json" && mv "$T/json" "$T/out"
	json 'j["jobs"][0]["error"] == 0'
}
verified() {
	run_fio --verify=crc32c --verify_fatal=1 --do_verify=1 "$@"
	json 'j["jobs"][0]["write"]["total_ios"] > 0 and j["jobs"][0]["read"]["total_ios"] >= j["jobs"][0]["write"]["total_ios"]'
}

# In process.
make_pool 96M
verified --pool=mem:64M --rw=randwrite
for access in direct faulting calls; do
	for depth in 1 16; do
		verified "--pool=$POOL" --rw=randwrite "--iodepth=$depth" "--access=$access"
	done
done
FILE=/new verified "--pool=$POOL" --rw=randrw --iodepth=4 --fsync=16 --fallocate=none
FILE=/sync verified "--pool=$POOL" --rw=write --bs=1M --sync=1
run_fio "--pool=$POOL" --rw=randtrim
run_fio "--pool=$POOL" --rw=randread --thread --numjobs=2 --io_size=1M
# What fio wrote is in the pool, and of the size that it asked for.
runs 0 "$LH" -p "$POOL" stat --json /new
json 'j["size"] == 8 << 20'
runs 0 "$LH" fsck "$POOL"

# A server, over shared memory and sockets, while its files are moved.
serve --listen "unix:$T/sock" --listen tcp:127.0.0.1:0 --tcp-as "$(id -u):$(id -g)"
(while :; do "$LH" -p "$UNIX" defrag /data && "$LH" -p "$UNIX" relocate /data; done) >/dev/null 2>&1 &
SERVERS+=($!)
for where in "$UNIX" "$TCP"; do
	for depth in 1 32; do
		verified "--pool=$where" --rw=randwrite "--iodepth=$depth"
	done
done
verified "--pool=$UNIX" --fabric=none --access=calls --rw=randwrite --size=2M
kill "$!" && wait "$!" 2>/dev/null || true

# The examples, shortened; LEASEHOLD names the pool.
export LEASEHOLD=$UNIX
sed 's/^runtime=.*/runtime=1/; s/^size=.*/size=8M/' "$examples/leasehold.fio" >"$T/a.fio"
runs 0 timeout 120 fio "$T/a.fio"
sed 's/^size=.*/size=4M/' "$examples/verify.fio" >"$T/b.fio"
runs 0 timeout 120 fio "$T/b.fio"
unset LEASEHOLD

# Bad input.
one() {
	timeout 60 fio --name=job "--ioengine=external:$ENGINE" "--filename=${FILE:-/data}" --size=1M --rw=read "$@"
}
runs 1 one
says 'which pool\?'
runs 1 one "--pool=$T/nowhere"
says 'leasehold: .*nowhere'
runs 1 one "--pool=$UNIX" --iodepth=1000
says 'iodepth is at most 256'
runs 1 one "--pool=$UNIX" --access=sideways
FILE=/none runs 1 one "--pool=$UNIX" --allow_file_create=0
says 'not allowed to lay out'
echo "fio verified everything"
