#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# stress-ng's stressors of filesystems with --verify, one after the other, two workers each. A stressor that says that this machine
# or filesystem has not what it needs is counted and named; every other failure is one.
. "$(dirname "$0")/lib.sh"
need stress-ng
cd "$W"

# Not of a filesystem: bind-mount binderfs procfs eventfd dup handle ioprio dnotify fanotify; the machine's: verity io (syncs all).
stressors=(access aio aiol chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl fiemap file-ioctl filename
	flock fpunch fsize fstat getdent hdd inode-flags inotify io-uring iomix lease link locka lockf lockofd mknod mmap msync open readahead
	rename revio seek sendfile symlink sync-file touch utime xattr)
seconds=$SCALE
known=$(stress-ng --help)
failed=
skipped=
ran=0
for s in "${stressors[@]}"; do
	grep -q -- "--$s N" <<<"$known" || { skipped+=" $s"; continue; }
	more=()
	case $s in
	hdd) more=(--hdd-bytes 32M --hdd-opts wr-rnd,rd-rnd,fsync) ;;
	aio | aiol) ;;
	copy-file) more=(--copy-file-bytes 128M) ;;
	fallocate) more=(--fallocate-bytes 16M) ;;
	iomix) more=(--iomix-bytes 32M) ;;
	mmap) more=(--mmap-file --mmap-bytes 16M) ;;
	msync) more=(--msync-bytes 8M) ;;
	readahead) more=(--readahead-bytes 32M) ;;
	revio) more=(--revio-bytes 32M) ;;
	seek) more=(--seek-size 16M) ;;
	sendfile) more=(--sendfile-size 1M) ;;
	sync-file) more=(--sync-file-bytes 16M) ;;
	dirdeep) more=(--dirdeep-inodes 2000) ;;
	esac
	status=0
	timeout -k 5 $((60 + 4 * seconds)) stress-ng --temp-path . --verify --timeout "$seconds" --"$s" 2 ${more[@]+"${more[@]}"} \
		>"$S/stress" 2>&1 || status=$?
	# 3: no resources; 4: not implemented here.
	if [ $status -eq 0 ] && grep -q 'skipped' "$S/stress" && grep -qE 'skipped: [1-9]|will be skipped|: skipping' "$S/stress"; then
		skipped+=" $s"
	elif [ $status -eq 3 ] || [ $status -eq 4 ]; then
		skipped+=" $s"
	elif [ $status -ne 0 ] || grep -qE '(fail|error):' "$S/stress"; then
		failed+=" $s"
		echo "stress: $s ended with $status:" >&2
		grep -vE 'info:|dispatching' "$S/stress" | head -n 8 >&2
	else
		ran=$((ran + 1))
	fi
done
said "$ran stressors ran; not here:${skipped:- none}"
[ -z "$failed" ] || fail "failed:$failed"
[ $ran -ge 30 ] || fail "only $ran stressors ran"
left=$(find . -mindepth 1 | head -n 5)
[ -z "$left" ] || fail "left behind: $left"
