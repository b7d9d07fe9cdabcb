#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# git, make and gcc: a real C project with its history is cloned, built and tested; branches, merges, rebase, stash, worktree,
# gc; fsck and a clean status at the end, and the tree is that of the original, byte for byte.
# The project: this repository. PROGRAMS_GIT=REPOSITORY and PROGRAMS_BUILD=COMMAND (in its clone) take another one.
. "$(dirname "$0")/lib.sh"
need git make gcc

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# The checkout may be somebody else's, and nobody's configuration shall matter.
export HOME=$S GIT_CONFIG_NOSYSTEM=1
git config --global safe.directory '*'
git config --global user.name tests
git config --global user.email tests@example.org
git config --global init.defaultBranch main
git config --global advice.detachedHead false
git config --global gc.auto 0

from=${PROGRAMS_GIT:-$root}
if ! git -C "$from" rev-parse -q --verify HEAD >/dev/null 2>&1; then
	# A source archive: a history is made of it.
	from=$S/made
	git init -q "$from"
	for part in src include tests docs; do
		cp -r "$root/$part" "$from/$part"
		git -C "$from" add -A
		git -C "$from" commit -q -m "$part"
	done
	said "no history here, one of $(git -C "$from" rev-list --count HEAD) commits made"
fi

cd "$W"
runs git clone --no-local "file://$from" project
said "cloned $(git -C project rev-list --count HEAD) commits"
# The original may go on meanwhile.
head=$(git -C project rev-parse HEAD)
mkdir same
git -C "$from" archive "$head" | tar -x -C same
diff -r -x .git same project >&2 || fail "the working tree differs from what git archive makes"
rm -rf same
runs git clone project twin
[ "$(git -C twin rev-parse HEAD)" = "$head" ] || fail "the local clone's HEAD is another"
rm -rf twin
said "checked out tree is right, cloned again with hard links"

if [ -n "${PROGRAMS_BUILD:-}" ]; then
	(cd project && runs bash -c "$PROGRAMS_BUILD")
	git -C project clean -qdfx
else
	runs make -C project -f "$here/project.mk" -j2 O="$W/out" check
	tests=$(ls "$W"/out/*.passed | wc -l)
	[ "$tests" -ge 5 ] || fail "only $tests tests ran"
	# Nothing is made again: the times are right. One change makes its dependents again.
	make -C project -f "$here/project.mk" -q O="$W/out" all || fail "make wants to build again what is new"
	touch project/src/base/size.c
	! make -C project -f "$here/project.mk" -q O="$W/out" all || fail "make does not see a newer source"
fi
said "built and tested"

cd project
[ -z "$(git status --porcelain)" ] || fail "status after the build: $(git status --porcelain)"
git checkout -q -b side
seq 1 5000 >numbers
git add numbers
git commit -q -m 'numbers'
git ls-files '*.c' '*.h' >"$S/sources"
read -r first <"$S/sources"
for i in 1 2 3 4 5; do
	echo "/* $i */" >>"$first"
	git commit -q -a -m "change $i"
done
git mv numbers moved
git commit -q -m 'moved'
git checkout -q -b other "$head"
printf '0\n' >other
git add other
git commit -q -m 'other'
runs git merge --no-edit side
git checkout -q side
runs git rebase other
git checkout -q --detach "$head"
runs git worktree add -q ../tree side
[ -f ../tree/moved ] || fail "the worktree lacks a file"
runs git worktree remove ../tree
echo stashed >>"$first"
runs git stash
[ -z "$(git status --porcelain)" ] || fail "status after stash: $(git status --porcelain)"
runs git stash pop
git checkout -q -- "$first"
git checkout -q "$head"
said "branches, merge, rebase, worktree, stash"

runs git fsck --full --strict --no-dangling
runs git gc --prune=now
runs git fsck --full --no-dangling
runs git repack -a -d -f --depth=10 --window=5
runs git fsck --full --no-dangling
# Every file is read and hashed again.
rm .git/index
git reset -q
[ -z "$(git status --porcelain)" ] || fail "status at the end: $(git status --porcelain)"
[ "$(git write-tree)" = "$(git -C "$from" rev-parse "$head^{tree}")" ] || fail "the tree is not that of the original"
said "fsck, gc, repack, status clean"
