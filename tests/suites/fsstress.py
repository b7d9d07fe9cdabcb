# SPDX-License-Identifier: BSD-2-Clause
"""fsstress: many processes, random operations on names and files. PATH is a checkout of xfstests or ltp with fsstress built,
or the program itself.

It says nothing about results, so they are looked at from outside: every process ends well; the tree (names, types, owners,
sizes, content, attributes) is the same after an unmount and a mount; the pool is without findings.
"""
import hashlib
import os
import stat
import subprocess

from fsx import find_program
from results import Row

PLACES = ("ltp/fsstress", "testcases/kernel/fs/fsstress/fsstress", "fsstress/fsstress", "fsstress")
PROCESSES = 8


def describe(path):
    """One line an inode; content of files by their sum."""
    st = os.lstat(path)
    words = [oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_rdev]
    if stat.S_ISLNK(st.st_mode):
        words.append(os.readlink(path))
    elif stat.S_ISREG(st.st_mode):
        words.append(st.st_size)
        total = hashlib.sha1()
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                total.update(piece)
        words.append(total.hexdigest())
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        words += [name, os.getxattr(path, name, follow_symlinks=False).hex()]
    return words


def tree(top):
    found = {}
    for where, dirs, files in os.walk(os.fsencode(top)):
        for name in dirs + files:
            path = os.path.join(where, name)
            found[os.path.relpath(path, os.fsencode(top))] = describe(path)
    return found


def compare(before, after, row):
    for path in sorted(set(before) | set(after)):
        if before.get(path) != after.get(path):
            row.fail(f"{os.fsdecode(path)!r} is {after.get(path)}, was {before.get(path)} before the unmount")
    if before == after:
        row.passed += 1


def run(args, target):
    program = find_program(args.path, PLACES, "fsstress")
    seeds = args.seeds or [1, 2, 3]
    stress, same = Row("fsstress"), Row("same after a mount")
    each = max(1, args.ops // (len(seeds) * PROCESSES))
    for seed in seeds:
        work = os.path.join(target.dir, f"seed{seed}")
        os.mkdir(work)
        command = [program, "-d", work, "-n", str(each), "-p", str(PROCESSES), "-s", str(seed)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=args.timeout)
            text, status = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as late:
            text, status = late.stdout or b"", f"no end after {args.timeout} s"
        if status == 0:
            stress.passed += 1
        else:
            stress.fail(f"{' '.join(command)}: {status}; {text[-500:].decode('utf-8', 'replace')}")
    stress.note = f"{each * PROCESSES * len(seeds):,} operations, {PROCESSES} processes"
    before = tree(target.dir)
    for wrong in target.again():
        same.fail(wrong)
    if target.kind == "directory":
        same.skip("a directory cannot be mounted again")
    else:
        compare(before, tree(target.dir), same)
    same.note = f"{len(before):,} inodes"
    return [stress, same]
