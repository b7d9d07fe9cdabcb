#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: every command of the README runs, as written (blocks marked `sh run`; the two make commands are CI itself).
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
DIR=$(mktemp -d)
export DIR
trap 'rm -rf "$DIR"' EXIT
PATH=$(dirname "$LEASEHOLD_BIN"):$PATH
awk '/^```sh run$/ {on=1; next} /^```$/ {on=0} on' "$here/README.md" >"$DIR/commands"
[ "$(wc -l <"$DIR/commands")" -ge 10 ]
bash -euo pipefail "$DIR/commands"
