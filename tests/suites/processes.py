# SPDX-License-Identifier: BSD-2-Clause
"""Ends what a suite started: also what its scripts have put into the background."""
import ctypes
import os
import signal
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Grandchildren whose parents end become ours, so that below() finds them."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def parents():
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                    found[int(name)] = int(stat.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError, ValueError):
                pass
    return found


def below(pid, spare=()):
    """All descendants of pid, but those in spare and what is below them."""
    table, found, heads = parents(), [], [pid]
    while heads:
        head = heads.pop()
        for child, parent in table.items():
            if parent == head and child not in spare:
                found.append(child)
                heads.append(child)
    return found


def end_below(pid, spare=()):
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for child in below(pid, spare):
            try:
                os.kill(child, sig)
            except ProcessLookupError:
                pass
        end = time.monotonic() + 2
        while below(pid, spare) and time.monotonic() < end:
            reap(spare)
            time.sleep(0.05)
    reap(spare)


def reap(spare=()):
    """Orphans that ended; whoever is in spare is waited for by his own Popen."""
    for child in below(os.getpid(), spare):
        try:
            os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            pass
