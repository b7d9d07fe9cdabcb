#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: every C block of the README compiles as written, against the public header alone.
#	readme_c.sh CC
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk -v out="$work" '/^```c$/ {on=1; n++; next} /^```$/ {on=0} on {print > (out "/" n ".part")}' "$here/README.md"
count=0
for part in "$work"/*.part; do
	if grep -q ibv_ "$part" && ! echo '#include <infiniband/verbs.h>' | "$1" -E - >/dev/null 2>&1; then
		echo "$(basename "$part"): no headers of verbs here, skipped"
		continue
	fi
	{
		echo '#define _GNU_SOURCE'
		grep -q ibv_ "$part" && echo '#include <infiniband/verbs.h>'
		echo '#include <sys/mman.h>'
		echo '#include <leasehold/leasehold.h>'
		echo 'void snippet(struct lh_fs *fs, struct lh_file *file, uint64_t off, uint64_t len, struct ibv_pd *pd,'
		echo '  struct lh_uring *ring, int fd, uint64_t fd_off, void *cookie);'
		echo 'void snippet(struct lh_fs *fs, struct lh_file *file, uint64_t off, uint64_t len, struct ibv_pd *pd,'
		echo '  struct lh_uring *ring, int fd, uint64_t fd_off, void *cookie) {'
		echo 'int err, n; void *p; struct lh_verbs_mr *mr; struct lh_verbs_run run; struct lh_uring_buffer *buf;'
		echo 'struct lh_completion done[8];'
		cat "$part"
		echo '}'
	} >"$work/snippet.c"
	"$1" -std=gnu11 -Wall -Wextra -Werror -Wno-unused -Wno-unused-parameter -Wno-unused-but-set-variable -fsyntax-only \
		-I "$here/include" "$work/snippet.c" || { echo "a C block of the README does not compile:"; cat "$part"; exit 1; }
	count=$((count + 1))
done
[ "$count" -ge 2 ]
echo "$count C blocks compile"
