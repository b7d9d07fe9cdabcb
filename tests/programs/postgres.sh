#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# PostgreSQL: initdb with checksums, pgbench, SIGKILL of the postmaster in the middle, recovery, pgbench again. Every transaction that
# a client saw committed is there, at most one per client besides; balances agree; amcheck over every index and heap;
# pg_checksums over every page; a dump restored into a second database is the same.
. "$(dirname "$0")/lib.sh"

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] && [ -x "$bin/initdb" ] || skip "no PostgreSQL here (scripts/install-deps installs it)"
PATH=$bin:$PATH
need initdb postgres pgbench psql pg_amcheck pg_checksums
as=()
if is_root; then
	id postgres >/dev/null 2>&1 || skip "no user postgres here"
	as=(setpriv --reuid postgres --regid postgres --init-groups env HOME="$S")
	chown postgres "$W" "$S"
	"${as[@]}" test -w "$W" || skip "the user postgres does not reach $W"
fi
seconds=$((8 * SCALE))
kills=2
clients=4
export PGHOST=$S PGPORT=5432 PGDATABASE=postgres PGUSER=tests PGCONNECT_TIMEOUT=20
data=$W/data

"${as[@]}" initdb -D "$data" -U tests -A trust -E UTF8 --locale=C --data-checksums >"$S/initdb.log" 2>&1 ||
	fail "initdb: $(tail -n 5 "$S/initdb.log")"
cat >>"$data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$S'
shared_buffers = 32MB
max_wal_size = 96MB
min_wal_size = 32MB
checkpoint_timeout = 30s
wal_compression = on
log_min_messages = warning
END
said "initdb"

POSTMASTER=
start() {
	"${as[@]}" postgres -D "$data" >>"$S/server.log" 2>&1 &
	POSTMASTER=$!
	CHILDREN+=("$POSTMASTER")
	for _ in $(seq 600); do
		pg_isready -q && return 0
		kill -0 "$POSTMASTER" 2>/dev/null || fail "the server ended: $(tail -n 5 "$S/server.log")"
		sleep 0.1
	done
	fail "the server does not get ready: $(tail -n 5 "$S/server.log")"
}

# Its children see that it is gone and end; a new one may start only then.
kill_all() {
	local children
	children=$(pgrep -P "$POSTMASTER" || true)
	kill -KILL "$POSTMASTER"
	wait "$POSTMASTER" 2>/dev/null || true
	for _ in $(seq 300); do
		local left=
		for pid in $children; do kill -0 "$pid" 2>/dev/null && left=$pid; done
		[ -n "$left" ] || return 0
		sleep 0.1
	done
	fail "process $left of the server stays"
}

sql() {
	psql -X -q -t -A -v ON_ERROR_STOP=1 -c "$1"
}

# What pgbench keeps in step.
balances() {
	local sums
	sums=$(sql "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
		(SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)")
	[ "$(tr '|' '\n' <<<"$sums" | sort -u | wc -l)" -eq 1 ] || fail "balances disagree: $sums"
}

start
runs pgbench -i -s $((2 * SCALE)) --foreign-keys postgres
sql "CREATE EXTENSION amcheck"
said "pgbench's tables of scale $((2 * SCALE)) made"

rows=0
for round in $(seq $kills); do
	pgbench -n -c $clients -j 2 -T 600 postgres >"$S/pgbench.out" 2>&1 &
	bench=$!
	CHILDREN+=("$bench")
	sleep "$seconds"
	kill -0 "$bench" || fail "pgbench ended by itself: $(tail -n 5 "$S/pgbench.out")"
	kill_all
	wait "$bench" 2>/dev/null || true
	# It says how many transactions were acknowledged to it before its clients lost their connection.
	done_now=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$S/pgbench.out")
	[ -n "$done_now" ] && [ "$done_now" -gt 0 ] || fail "pgbench did nothing: $(tail -n 5 "$S/pgbench.out")"
	start
	now=$(sql "SELECT count(*) FROM pgbench_history")
	[ "$now" -ge $((rows + done_now)) ] || fail "$((rows + done_now)) transactions were acknowledged, $now are there"
	[ "$now" -le $((rows + done_now + clients)) ] || fail "$now transactions are there, $((rows + done_now)) were acknowledged"
	rows=$now
	balances
	said "killed after $done_now transactions, recovered, all there, balances agree"
done
runs pgbench -n -c $clients -j 2 -T 3 postgres
runs psql -X -q -v ON_ERROR_STOP=1 -c "VACUUM FULL pgbench_accounts" -c "VACUUM ANALYZE" -c "REINDEX DATABASE postgres"
balances
runs pg_amcheck --all --heapallindexed --parent-check --rootdescend --install-missing
said "vacuumed, indexed anew, amcheck"
createdb copy
pg_dump postgres | psql -X -q -v ON_ERROR_STOP=1 copy >/dev/null
rows_of() {
	PGDATABASE=$1 sql "SELECT md5(string_agg(a::text, ',' ORDER BY aid)) FROM pgbench_accounts a"
}
[ "$(rows_of postgres)" = "$(rows_of copy)" ] || fail "a dump that was restored is another"
kill -INT "$POSTMASTER"
wait "$POSTMASTER" || fail "the server's end: $(tail -n 5 "$S/server.log")"
runs "${as[@]}" pg_checksums --check -D "$data"
said "dumped and restored, stopped, page checksums right"
# PANIC and checksum failures would be there.
! grep -E 'PANIC|checksum|invalid page|could not (read|write|fsync)' "$S/server.log" >&2 || fail "the server's log complains"
