# SPDX-License-Identifier: BSD-2-Clause
"""pjdfstest: POSIX system calls, one TAP file each. PATH is a checkout in which `pjdfstest` was built.

A row is a directory of the suite (chmod, chown, ...). As with prove, what the suite marks as TODO counts as passed, and
a file that ends before its plan is full fails for each test that is missing.
"""
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import tempfile

from results import Row
from target import Problem

LINE = re.compile(r"^(not )?ok\b\s*(\d*)(.*)")
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*skip\b\s*(.*))?", re.I)


def find(path, only):
    program = os.path.join(path, "pjdfstest")
    if not os.access(program, os.X_OK) or os.path.isdir(program):
        raise Problem(f"{program}: not built; the suite's README says how")
    if os.getuid() != 0:
        raise Problem("pjdfstest changes owners: it needs root")
    for need in ("openssl", "perl"):
        if shutil.which(need) is None:
            raise Problem(f"pjdfstest needs {need}")
    tests = sorted(glob.glob(os.path.join(path, "tests", "*", "*.t")))
    tests = [t for t in tests if not only or re.search(only, os.path.relpath(t, os.path.join(path, "tests")))]
    if not tests:
        raise Problem(f"{path}: no tests" + (f" match {only}" if only else ""))
    return tests


def read_tap(text, status, name, row):
    plan, seen = None, 0
    for line in text.splitlines():
        planned = PLAN.match(line)
        if planned:
            plan = int(planned.group(1))
            if planned.group(2) is not None:
                row.skip(f"{name}: {planned.group(2)}")
            continue
        found = LINE.match(line)
        if not found:
            continue
        seen += 1
        rest = found.group(3)
        if found.group(1) and not re.search(r"#\s*TODO", rest):
            row.fail(f"{name} {found.group(2)}{rest}")
        elif re.search(r"#\s*skip", rest, re.I):
            row.skip(f"{name} {found.group(2)}{rest}")
        else:
            row.passed += 1
    if plan is None:
        row.fail(f"{name}: no plan; it ended with {status}: {text[-300:].strip()}")
    elif seen < plan:
        row.failed += plan - seen - 1
        row.fail(f"{name}: {plan - seen} of {plan} tests never ran (it ended with {status})")


def run_file(test, directory, timeout):
    work = tempfile.mkdtemp(prefix="pjd.", dir=directory)
    os.chmod(work, 0o755)
    try:
        done = subprocess.run(["sh", test], cwd=work, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        out, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        out, status = late.stdout or b"", f"nothing for {timeout} s"
    shutil.rmtree(work, ignore_errors=True)
    return out.decode("utf-8", "replace"), status


def run(args, target):
    tests = find(args.path, args.tests)
    rows = {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = [(t, pool.submit(run_file, t, target.dir, args.timeout)) for t in tests]
        for test, future in runs:
            group = os.path.basename(os.path.dirname(test))
            row = rows.setdefault(group, Row(group))
            text, status = future.result()
            read_tap(text, status, os.path.relpath(test, os.path.join(args.path, "tests")), row)
    return list(rows.values())
