# SPDX-License-Identifier: BSD-2-Clause
"""fsx: random operations on one file against a copy in memory. PATH is a checkout of xfstests or ltp with fsx built, or the
program itself.

A row is a way to use it (what is mapped, direct, asynchronous, how large), a test in it is one seed; --ops are spread over
all of them. fsx leaves operations out by itself that the filesystem refuses (its output says which: they are in the note).
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import tempfile
import time

from results import Row
from target import Problem

# Not -c (close and open now and then): it drops the caches of the whole machine each time.
WAYS = {
    "calls": ["-R", "-W"],
    "mapped": [],
    "direct": ["-Z", "-R", "-W", "-r", "4096", "-w", "4096", "-t", "4096"],
    "large": ["-l", "67108864", "-o", "1048576"],
    "post-eof": ["-e", "1"],
}
PLACES = ("ltp/fsx", "testcases/kernel/fs/fsx-linux/fsx-linux", "fsx/fsx", "fsx")
TAIL = 1500


def find_program(path, places, name):
    if os.path.isfile(path):
        places, path = [os.path.basename(path)], os.path.dirname(path)
    for place in places:
        program = os.path.join(path, place)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return os.path.abspath(program)
    raise Problem(f"{path}: no {name} there ({', '.join(places)}): build it, as the suite's README says")


def one(program, options, seed, ops, directory, timeout):
    """(sentence of failure or None, seconds, what fsx left out)"""
    logs = tempfile.mkdtemp(prefix="lh-fsx.")
    file = os.path.join(directory, f"fsx.{seed}.{abs(hash(tuple(options))) % 9999}")
    command = [program, "-q", "-N", str(ops), "-S", str(seed), "-P", logs, *options, file]
    start = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout)
        text, status = done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        text, status = (late.stdout or b"").decode("utf-8", "replace"), f"no end after {timeout} s"
    took = time.monotonic() - start
    left_out = re.findall(r"(?:does not support|not supported by filesystem)[^\n]*", text)
    if status == 0 and "A-OK" in text:
        shutil.rmtree(logs, ignore_errors=True)
        return None, took, left_out
    head = re.sub(r"(?s)LOG DUMP.*", "", text)[:TAIL].strip()
    return f"{' '.join(command)}: {status}; {head} (logs in {logs})", took, left_out


def run(args, target):
    program = find_program(args.path, PLACES, "fsx")
    ways = {n: w for n, w in WAYS.items() if not args.tests or re.search(args.tests, n)}
    seeds = args.seeds or [1, 2]
    ops = max(1, args.ops // (len(ways) * len(seeds)))
    rows = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = {(n, s): pool.submit(one, program, w, s, ops, target.dir, args.timeout) for n, w in ways.items() for s in seeds}
        for name in ways:
            row, seconds, out = Row(name), 0.0, set()
            for seed in seeds:
                wrong, took, left_out = runs[name, seed].result()
                seconds += took
                out.update(left_out)
                if wrong:
                    row.fail(wrong)
                else:
                    row.passed += 1
            row.note = f"{ops * len(seeds):,} operations, {ops * len(seeds) / max(seconds, 0.001):,.0f} a second"
            if out:
                row.note += "; left out: " + ", ".join(sorted(out))
            rows.append(row)
    return rows
