# SPDX-License-Identifier: BSD-2-Clause
# Goal: `leasehold conformance` is for everybody: a plain user, on a pool of his own and against a server that another
# user started, has no failure; what cannot be checked there is said, with the reason.
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || { echo "needs root, to become somebody else"; exit 77; }
PLAIN="setpriv --reuid=60123 --regid=60123 --clear-groups"
chmod 711 "$T"
cp "$LH" "$T/leasehold"
chmod 755 "$T/leasehold"
ONLY=L1,L7,L9,L13,L17,L18,L22,L26,L34

# checked: no failure, and a reason for everything that was left out.
checked() {
	json 'j["failed"] == 0 and j["passed"] > 3'
	json 'all(len(k["saw"]) > 10 for r in j["rules"] for k in r["cases"] if k["result"] == "skipped")'
}

# Over what he may pin is what some checks need; he owns the pool, and allows it to himself.
runs 0 bash -c "ulimit -l 8192; exec $PLAIN $T/leasehold conformance --over unix --fabric stream --scale 0.1 --only $ONLY --json"
checked
json 'any(k["result"] == "passed" for r in j["rules"] if r["rule"] == "L13" for k in r["cases"])'

"$LH" -p mem:128M serve --listen "unix:$T/s" --listen tcp:127.0.0.1:0 --socket-mode 666 >"$T/serve.out" 2>&1 &
SERVERS+=($!)
for _ in $(seq 100); do
	grep -q ^ready "$T/serve.out" && break
	sleep 0.1
done
TCP=$(grep -o 'tcp:[0-9.:]*' "$T/serve.out")
runs 0 "$LH" -p "unix:$T/s" mkdir -m 777 /w
for address in "unix:$T/s" "$TCP"; do
	runs 0 $PLAIN "$T/leasehold" conformance --scale 0.1 --only $ONLY --dir /w --json "$address"
	checked
	# Restarts, and an administrator's powers, are not his.
	json 'any(k["result"] == "skipped" for r in j["rules"] if r["rule"] == "L34" for k in r["cases"])'
	json 'any("administrator" in k["saw"] for r in j["rules"] if r["rule"] == "L26" for k in r["cases"])'
done
