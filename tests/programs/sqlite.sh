#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SQLite's command with several writers, each journal mode, mapped files: killed with SIGKILL in the middle, several times. Then
# every acknowledged transaction is there, whole, at most the one under way besides, and integrity_check says ok.
. "$(dirname "$0")/lib.sh"
need sqlite3 stdbuf awk

writers=3
kills=$((2 * SCALE))
seconds=2.5

# One writer's endless stream of transactions: a row with content that follows from its number, and a sum kept in step. What
# is printed was committed.
transactions() {
	awk -v w="$1" -v from="$2" -v mode="$3" 'BEGIN {
		q = "\047"
		print ".output /dev/null"
		print ".timeout 60000"
		print "PRAGMA journal_mode=" mode ";"
		print "PRAGMA mmap_size=67108864;"
		print ".output stdout"
		for (n = from; ; n++) {
			printf "BEGIN IMMEDIATE;\n"
			printf "INSERT INTO rows VALUES(%d, %d, hex(zeroblob(%d)) || %s%d.%d%s);\n", w, n, (n * 37) % 700, q, w, n, q
			printf "UPDATE sums SET count = count + 1, total = total + %d WHERE writer = %d;\n", n, w
			if (n % 3 == 0)
				printf "UPDATE rows SET content = content || %s+%s WHERE writer = %d AND n = %d;\n", q, q, w, n - 1
			if (n % 7 == 0)
				printf "DELETE FROM scratch; INSERT INTO scratch VALUES(randomblob(60000));\n"
			printf "COMMIT;\nSELECT %d;\n", n
		}
	}'
}

# check DB WRITER FIRST ACKNOWLEDGED
check_writer() {
	local db=$1 w=$2 acked=$3 last bad
	last=$(sqlite3 "$db" "SELECT coalesce(max(n), 0) FROM rows WHERE writer = $w")
	[ "$last" -ge "$acked" ] || fail "writer $w: $acked was acknowledged, $last is there"
	[ "$last" -le $((acked + 1)) ] || fail "writer $w: $last is there, $acked was acknowledged, and one under way"
	bad=$(sqlite3 "$db" "SELECT count(*) FROM rows WHERE writer = $w AND content !=
		hex(zeroblob((n * 37) % 700)) || printf('%d.%d', writer, n) ||
		CASE WHEN (n + 1) % 3 = 0 AND n + 1 <= $last THEN '+' ELSE '' END")
	[ "$bad" -eq 0 ] || fail "writer $w: $bad rows have another content"
	[ "$(sqlite3 "$db" "SELECT count(*) FROM rows WHERE writer = $w")" -eq "$last" ] || fail "writer $w: rows are missing"
	[ "$(sqlite3 "$db" "SELECT count || ',' || total FROM sums WHERE writer = $w")" = "$last,$((last * (last + 1) / 2))" ] ||
		fail "writer $w: sums are not those of $last rows: $(sqlite3 "$db" "SELECT * FROM sums")"
	LAST=$last
}

for mode in DELETE TRUNCATE PERSIST WAL; do
	db=$W/$mode.db
	sqlite3 "$db" "PRAGMA journal_mode=$mode; PRAGMA page_size=4096;
		CREATE TABLE rows(writer INTEGER, n INTEGER, content TEXT, PRIMARY KEY(writer, n));
		CREATE INDEX by_content ON rows(content);
		CREATE TABLE sums(writer INTEGER PRIMARY KEY, count INTEGER, total INTEGER);
		CREATE TABLE scratch(b BLOB);" >"$S/mode"
	[ "$(head -n 1 "$S/mode" | tr a-z A-Z)" = "$mode" ] || fail "journal mode $mode is refused: $(cat "$S/mode")"
	[ "$mode" != WAL ] || [ "$(sqlite3 "$db" 'PRAGMA journal_mode')" = wal ] || fail "WAL did not stay"
	next=()
	for w in $(seq $writers); do
		sqlite3 "$db" "INSERT INTO sums VALUES($w, 0, 0)"
		next[w]=1
	done
	for round in $(seq $kills); do
		victims=()
		for w in $(seq $writers); do
			# -bail: an error is not passed over.
			transactions "$w" "${next[w]}" "$mode" 2>/dev/null |
				stdbuf -oL sqlite3 -bail "$db" >"$S/acked.$w" 2>"$S/$mode-$w.log" &
			victims+=($!)
			CHILDREN+=($!)
		done
		sleep $seconds
		for pid in "${victims[@]}"; do
			kill -0 "$pid" 2>/dev/null || fail "$mode: a writer ended by itself: $(cat "$S"/"$mode"-*.log)"
			kill -KILL "$pid"
		done
		wait "${victims[@]}" 2>/dev/null || true
		CHILDREN=()
		[ "$(sqlite3 "$db" 'PRAGMA mmap_size=67108864; PRAGMA integrity_check' | tail -n 1)" = ok ] ||
			fail "$mode: integrity_check: $(sqlite3 "$db" 'PRAGMA integrity_check' | head -n 5)"
		total=0
		for w in $(seq $writers); do
			acked=$(tail -n 1 "$S/acked.$w")
			check_writer "$db" "$w" "${acked:-$((next[w] - 1))}"
			total=$((total + LAST - next[w] + 1))
			next[w]=$((LAST + 1))
		done
		[ "$total" -gt 0 ] || fail "$mode: nothing was committed in $seconds s"
		said "$mode: killed after $total transactions, all there"
	done
	runs sqlite3 "$db" "VACUUM; PRAGMA integrity_check;"
	sqlite3 "$db" .dump >"$S/dump.sql"
	runs sqlite3 "$W/again.db" ".read $S/dump.sql"
	cmp "$S/dump.sql" <(sqlite3 "$W/again.db" .dump) || fail "$mode: a dump that was read again is another"
	rm "$W/again.db"
done
said "vacuumed, dumped and read again"
