#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# For `run --kill N`: the process behind the mount dies while programs write. killed.sh DIR: SQLite's writers, in rollback and WAL
# mode, and a writer of files with fsync, until the mount is gone. killed.sh --after DIR: every acknowledged transaction and
# every file whose fsync had returned is there (L38), and the databases are sound.
set -euo pipefail

after=0
[ "${1:-}" != --after ] || { after=1 && shift; }
DIR=${1:?usage: killed.sh [--after] DIR}
STATE=${PROGRAMS_STATE:?a directory that stays: for run --kill}
export LC_ALL=C
for p in sqlite3 stdbuf awk python3; do
	command -v $p >/dev/null || { echo "killed: no $p here (scripts/install-deps installs it)"; exit 77; }
done
mkdir -p "$STATE"

fail() {
	echo "FAIL: killed: $*" >&2
	exit 1
}

acknowledged() {
	# The last whole line: the first round has none.
	[ -s "$STATE/$1" ] && tail -n 1 "$STATE/$1" || echo 0
}

# EXTRA: the directory is synced too when a journal is deleted.
transactions() {
	awk -v from="$1" -v mode="$2" 'BEGIN {
		print ".output /dev/null\nPRAGMA journal_mode=" mode ";\nPRAGMA synchronous=EXTRA;\nPRAGMA mmap_size=67108864;"
		print "CREATE TABLE IF NOT EXISTS rows(n INTEGER PRIMARY KEY, content TEXT);"
		print "CREATE TABLE IF NOT EXISTS sums(one INTEGER PRIMARY KEY, total INTEGER); INSERT OR IGNORE INTO sums VALUES(1, 0);"
		print ".output stdout"
		for (n = from; ; n++)
			printf "BEGIN IMMEDIATE; INSERT INTO rows VALUES(%d, hex(zeroblob(%d)) || %d); UPDATE sums SET total = total + %d; COMMIT; SELECT %d;\n",
				n, (n * 37) % 900, n, n, n
	}'
}

write() {
	local pids=()
	for mode in DELETE WAL; do
		transactions $(($(acknowledged "$mode") + 1)) $mode 2>/dev/null |
			stdbuf -oL sqlite3 -bail "$DIR/$mode.db" >>"$STATE/$mode" 2>/dev/null &
		pids+=($!)
	done
	# Files: written under another name, fsync, rename, fsync of the directory, then told.
	python3 - "$DIR" "$(acknowledged files)" >>"$STATE/files" 2>/dev/null <<'END' &
import os, sys
where, n = sys.argv[1], int(sys.argv[2])
d = os.open(where, os.O_RDONLY)
while True:
    n += 1
    new, name = f"{where}/new", f"{where}/file{n}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, (b"%d\n" % n) * (1 + n * 7 % 3000))
    os.fsync(fd)
    os.close(fd)
    os.rename(new, name)
    if n > 200 and os.path.exists(f"{where}/file{n - 200}"):
        os.unlink(f"{where}/file{n - 200}")
    os.fsync(d)
    print(n, flush=True)
END
	pids+=($!)
	for pid in "${pids[@]}"; do wait "$pid" || true; done
}

check() {
	local last acked
	for mode in DELETE WAL; do
		acked=$(acknowledged $mode)
		[ "$acked" -gt 0 ] || fail "$mode: nothing was acknowledged before the kill"
		[ "$(sqlite3 "$DIR/$mode.db" 'PRAGMA integrity_check' | tail -n 1)" = ok ] ||
			fail "$mode: integrity_check: $(sqlite3 "$DIR/$mode.db" 'PRAGMA integrity_check' | head -n 5)"
		last=$(sqlite3 "$DIR/$mode.db" 'SELECT coalesce(max(n), 0) FROM rows')
		[ "$last" -ge "$acked" ] || fail "$mode: $acked was acknowledged, $last is there"
		[ "$last" -le $((acked + 1)) ] || fail "$mode: $last is there, $acked was acknowledged"
		[ "$(sqlite3 "$DIR/$mode.db" "SELECT count(*) || ',' || (SELECT total FROM sums) FROM rows
			WHERE content = hex(zeroblob((n * 37) % 900)) || n")" = "$last,$((last * (last + 1) / 2))" ] ||
			fail "$mode: rows or their sum are not those of $last transactions"
		[ "$last" -eq "$acked" ] || echo "$last" >>"$STATE/$mode"
		echo "killed: $mode: $last transactions, all there"
	done
	acked=$(acknowledged files)
	[ "$acked" -gt 0 ] || fail "files: nothing was acknowledged before the kill"
	python3 - "$DIR" "$acked" >>"$STATE/files" <<'END' || { ls -lain --full-time "$DIR" | sort -n | tail -n 8 >&2; fail "files that had been synced are not there as they were"; }
import os, re, sys
where, acked = sys.argv[1], int(sys.argv[2])
there = {int(m[1]) for m in (re.fullmatch(r"file(\d+)", name) for name in os.listdir(where)) if m}
# The one under way may be there, and then the oldest be gone.
want = set(range(max(1, acked - 199), acked + 1))
assert want - there <= {acked - 199}, sorted(want - there)
assert there - want <= {acked + 1, acked - 200}, sorted(there - want)
for n in there:
    data = open(f"{where}/file{n}", "rb").read()
    assert data == (b"%d\n" % n) * (1 + n * 7 % 3000), (f"file{n}", len(data), {*data.split(b"\n")}, "acknowledged", acked, sorted(there)[-3:])
if acked + 1 in there:
    print(acked + 1)
if acked + 1 in there and acked - 199 in there and acked > 199:
    os.unlink(f"{where}/file{acked - 199}")
for n in there:
    if n <= acked - 200:
        os.unlink(f"{where}/file{n}")
END
	echo "killed: $acked files synced, those to be there are, as they were"
}

if [ $after -eq 1 ]; then
	check
else
	write
fi
