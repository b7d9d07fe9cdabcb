# SPDX-License-Identifier: BSD-2-Clause
"""Rows of results, the table that people read, and the JSON that programs read."""
import json

DETAILS_SHOWN = 40


class Row:
    """One line of the table: a group of tests or one long run. `failures` has a sentence each."""

    def __init__(self, name, passed=0, failed=0, skipped=0, note=""):
        self.name = name
        self.passed = passed
        self.failed = failed
        self.skipped = skipped
        self.note = note
        self.failures = []
        self.skips = []

    def fail(self, sentence):
        self.failed += 1
        self.failures.append(sentence)

    def skip(self, sentence):
        self.skipped += 1
        self.skips.append(sentence)


def totals(rows):
    return [sum(getattr(row, what) for row in rows) for what in ("passed", "failed", "skipped")]


def show(rows, out):
    width = max([len(row.name) for row in rows] + [4])
    print(f"{'':{width}}  {'passed':>8} {'failed':>8} {'skipped':>8}", file=out)
    for row in rows:
        print(f"{row.name:{width}}  {row.passed:8} {row.failed:8} {row.skipped:8}  {row.note}".rstrip(), file=out)
    for row in rows:
        for sentence in row.failures[:DETAILS_SHOWN]:
            print(f"FAILED {row.name}: {sentence}", file=out)
        if len(row.failures) > DETAILS_SHOWN:
            print(f"FAILED {row.name}: and {len(row.failures) - DETAILS_SHOWN} more (all of them: --json)", file=out)


def last_line(rows):
    passed, failed, skipped = totals(rows)
    return f"{passed} passed, {failed} failed, {skipped} skipped"


def write_json(path, head, rows):
    passed, failed, skipped = totals(rows)
    whole = dict(head, passed=passed, failed=failed, skipped=skipped, rows=[vars(row) for row in rows])
    with open(path, "w", encoding="utf-8") as out:
        json.dump(whole, out, indent=1)
        out.write("\n")
