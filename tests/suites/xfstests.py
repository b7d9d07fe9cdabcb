# SPDX-License-Identifier: BSD-2-Clause
"""xfstests: the generic group "quick" (--tests: other groups or names). PATH is a built checkout.

Its own `check` runs the tests, with two filesystems that it mounts and unmounts itself by `mount -t fuse.lhsuite`: that is a
script of ours, found by PATH, which starts the program under test. A test that says nothing for --timeout seconds is ended with all
that it started, counts as failed, and `check` goes on with the next one.
"""
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time

from processes import below, end_below
from results import Row
from target import Problem, mounts_below, unmount

START = re.compile(r"^(generic/\d+)(.*)$", re.M)
# A mount of type fuse.NAME is "fuse" to the suite.
DF = '#!/bin/sh\n%s "$@" | sed -E "s/ fuse\\.[a-z_]+ / fuse /"\n'
MOUNT = """#!/bin/sh
case " $* " in
*remount*) exec %(mount)s -i "$@" ;;
*" fuse.lhsuite "*) ;;
*) exec %(mount)s "$@" ;;
esac
options=rw,dev,suid source= dir=
while [ $# -gt 0 ]; do
	case "$1" in
	-t) shift ;;
	-o) options=$options,$2; shift ;;
	-o*) options=$options,${1#-o} ;;
	-*) ;;
	*) source=$dir dir=$1 ;;
	esac
	shift
done
%(helper)s
"""


class Check:
    """One directory of configuration and results for all invocations of `check`."""

    def __init__(self, args, target):
        self.args, self.target = args, target
        self.base = os.path.join(target.base, "xfstests")
        self.results = os.path.join(self.base, "results")
        for name in ("bin", "test", "scratch", "results"):
            os.makedirs(os.path.join(self.base, name))
        self.script("df", DF % shutil.which("df"))
        self.script("mount", MOUNT % {"mount": shutil.which("mount"), "helper": target.helper()})
        self.config = os.path.join(self.base, "config")
        with open(self.config, "w", encoding="utf-8") as out:
            test, scratch = target.sources()
            out.write(f"export FSTYP=fuse FUSE_SUBTYP=.lhsuite TEST_DEV={test} SCRATCH_DEV={scratch}\n"
                      f"export TEST_DIR={shlex.quote(self.base)}/test SCRATCH_MNT={shlex.quote(self.base)}/scratch\n"
                      f"export RESULT_BASE={shlex.quote(self.results)}\n"
                      "export MOUNT_OPTIONS= TEST_FS_MOUNT_OPTS=\n")

    def script(self, name, text):
        path = os.path.join(self.base, "bin", name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, 0o755)

    def environment(self):
        return dict(os.environ, HOST_OPTIONS=self.config, PATH=os.path.join(self.base, "bin") + ":" + os.environ["PATH"])

    def tests(self):
        """What the group has, by check's own word."""
        words = shlex.split(self.args.tests or "-g quick")
        if all(re.fullmatch(r"generic/\d+", word) for word in words):
            return sorted(set(words))
        shown = subprocess.run(["./check", "-fuse", "-n", *words], cwd=self.args.path, env=self.environment(),
                               capture_output=True, text=True, timeout=300)
        found = re.findall(r"^(generic/\d+)", shown.stdout, re.M)
        if not found:
            raise Problem(f"check -n names no generic test: {(shown.stdout + shown.stderr)[-800:]}")
        return sorted(set(found))

    def detail(self, test):
        """What its output says that it should not, in a line."""
        lines = []
        for end in (".out.bad", ".notrun"):
            path = os.path.join(self.results, test + end)
            if end == ".notrun" and os.path.exists(path):
                lines = open(path, encoding="utf-8", errors="replace").read().split("\n")
            elif os.path.exists(path):
                good = os.path.join(self.args.path, "tests", test + ".out")
                diff = subprocess.run(["diff", good, path], capture_output=True).stdout.decode("utf-8", "replace")
                lines = [line for line in diff.split("\n") if line[:1] in "<>"]
        return " | ".join(lines[:6])[:600].strip()

    def clean(self):
        """After a test that hung: nothing of it is left, mounts neither."""
        end_below(os.getpid(), spare={p.pid for p in (self.target.process,) if p is not None})
        for where in mounts_below(self.base):
            unmount(where, lazily=True)


def verdict(check, row, test, rest):
    rest = rest.strip()
    why = rest[rest.find("[not run]") + 9:].strip() if "[not run]" in rest else ""
    if "[not run]" in rest or "[expunged]" in rest:
        row.skip(f"{test}: {why or check.detail(test)}")
    elif "[failed" in rest or "output mismatch" in rest or "_check_" in rest or "[" in rest:
        row.fail(f"{test}: {rest.splitlines()[0]}; {check.detail(test)}")
    else:
        row.passed += 1


class Reader:
    """check's output as it comes: which test runs, since when."""

    def __init__(self, process):
        self.process = process
        self.text = ""
        self.changed = time.monotonic()

    def wait(self, seconds):
        """False at the end."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            return True
        piece = os.read(self.process.stdout.fileno(), 65536)
        if piece:
            self.text += piece.decode("utf-8", "replace")
            self.changed = time.monotonic()
        return bool(piece)

    def quiet_for(self):
        return time.monotonic() - self.changed

    def split(self):
        """[(test, what was said after its name)], the last may be running."""
        found = list(START.finditer(self.text))
        ends = [m.start() for m in found[1:]] + [len(self.text)]
        return [(m.group(1), self.text[m.end(1):end]) for m, end in zip(found, ends)]


def batch(check, tests, row, progress):
    """Runs as many as it can; returns what is left."""
    process = subprocess.Popen(["./check", "-fuse", "--exact-order", *tests], cwd=check.args.path, env=check.environment(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    reader, hung = Reader(process), False
    while reader.wait(1):
        if reader.quiet_for() > check.args.timeout:
            hung = True
            break
    if hung:
        stuck = [f"{open(f'/proc/{p}/cmdline').read()[:60]!r}" for p in below(process.pid) if os.path.exists(f"/proc/{p}")]
        check.clean()
    process.wait()
    said = reader.split()
    done = said[:-1] if hung else said
    for test, rest in done:
        verdict(check, row, test, re.split(r"\n(?:Ran:|Passed all|Interrupted|SECTION)", rest)[0])
    if hung and said:
        row.fail(f"{said[-1][0]}: no end after {check.args.timeout} s; running: {', '.join(stuck)[:300]}")
    ran = {test for test, _ in said}
    progress(row)
    if not ran:
        raise Problem(f"check ran nothing: {reader.text[-1500:]}")
    return [t for t in tests if t not in ran]


def run(args, target):
    if not os.access(os.path.join(args.path, "check"), os.X_OK) or not os.path.exists(os.path.join(args.path, "ltp/fsx")):
        raise Problem(f"{args.path}: not a built checkout of xfstests; its README says how to build it")
    if target.helper() is None:
        raise Problem("xfstests mounts and unmounts: not with --on")
    check = Check(args, target)
    tests = check.tests()
    row = Row("generic")
    left, size, end = tests, 20, time.monotonic() + args.budget
    try:
        while left and time.monotonic() < end:
            rest = batch(check, left[:size], row, lambda r: print(
                f"xfstests: {r.passed + r.failed + r.skipped} of {len(tests)}, {r.failed} failed", file=sys.stderr, flush=True))
            left = rest + left[size:]
    finally:
        check.clean()
    if left:
        row.note = f"the time was over: {len(left)} were not reached, from {left[0]} on"
    return [row]
