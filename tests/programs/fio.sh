#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# fio with verify: each engine that works on a file writes at random and in order with a checksum in every block, and reads all of
# it back; buffered and direct; several writers in one file; files that are reopened by another process to be verified.
. "$(dirname "$0")/lib.sh"
need fio
cd "$W"

size=$((24 * SCALE))M
engines=(psync sync vsync pvsync pvsync2 libaio io_uring posixaio mmap splice)
have=$(fio --enghelp)

# verified NAME OPTION...
verified() {
	local name=$1 status=0
	shift
	fio --name="$name" --directory=. --filename_format='$jobname' --size="$size" --verify_fatal=1 --do_verify=1 \
		--randseed=17 --group_reporting --output-format=json --output="$S/fio.json" "$@" \
		>"$S/fio.log" 2>&1 || status=$?
	if [ $status -ne 0 ]; then
		grep -qiE 'operation not (supported|permitted)|function not implemented|failed to setup|engine .* not' "$S/fio.log" \
			"$S/fio.json" && return 77
		fail "$name: fio ended with $status: $(cat "$S/fio.log"; head -c 1000 "$S/fio.json")"
	fi
	python3 - "$S/fio.json" <<'END' || fail "$name: fio reports errors or did nothing"
import json, sys
text = open(sys.argv[1]).read()
jobs = json.loads(text[text.index("{"):])["jobs"]
assert all(j["error"] == 0 for j in jobs), [j["error"] for j in jobs]
assert sum(j["write"]["total_ios"] for j in jobs) > 0 and sum(j["read"]["total_ios"] for j in jobs) > 0, "nothing done"
END
	rm -f "$name"*
}

done=0
without=
for engine in "${engines[@]}"; do
	grep -qw "$engine" <<<"$have" || { without+=" $engine"; continue; }
	status=0
	# vsync gathers what is next to each other, and with a depth it forgets to verify.
	more=(--bsrange=4k-64k --iodepth=8 --fsync=64 --verify_backlog=512)
	[ "$engine" != vsync ] || more=(--bs=4k)
	verified "$engine" --ioengine="$engine" --rw=randwrite --verify=crc32c "${more[@]}" || status=$?
	[ $status -ne 77 ] || { without+=" $engine"; continue; }
	done=$((done + 1))
done
[ $done -ge 5 ] || fail "only $done engines work here; not:$without"
said "$done engines at random, verified; not here:${without:- none}"

direct=0
for engine in psync libaio io_uring; do
	status=0
	verified "direct-$engine" --ioengine="$engine" --rw=randwrite --bs=4k --iodepth=16 --direct=1 --verify=sha256 || status=$?
	[ $status -ne 0 ] || direct=$((direct + 1))
done
said "$direct engines with O_DIRECT, verified"

verified order --ioengine=psync --rw=write --bs=1M --verify=crc32c --end_fsync=1
verified odd --ioengine=psync --rw=randwrite --bs_unaligned=1 --bsrange=600-20000 --verify=md5 --size=8M
verified mapped --ioengine=mmap --rw=randwrite --bs=4k --verify=crc32c --fsync=100
verified holes --ioengine=psync --rw=randwrite --bs=4k --verify=crc32c --fallocate=none --io_size=4M --norandommap=0
verified preallocated --ioengine=psync --rw=randwrite --bs=16k --verify=crc32c --fallocate=posix
said "in order, unaligned, mapped, with holes, preallocated"

# Four writers, each with a quarter of one file; then another process, and another engine, verifies all of it.
four=(--name=four --filename=four --size=8M --offset_increment=8M --numjobs=4 --thread --rw=randwrite --bs=8k --verify=crc32c
	--randseed=5 --group_reporting)
runs fio "${four[@]}" --ioengine=psync --do_verify=0
runs fio "${four[@]}" --ioengine=libaio --iodepth=4 --verify_only
runs fio "${four[@]}" --ioengine=splice --verify_only
runs fio "${four[@]}" --ioengine=psync --direct=1 --verify_only
printf 'X' | dd of=four bs=1 seek=$((8192 * 700 + 5000)) conv=notrunc status=none
! fio "${four[@]}" --ioengine=psync --verify_only >"$S/damaged" 2>&1 || fail "fio does not see a changed byte: this test tests nothing"
rm -f four*
said "four writers in one file, verified by others"
