# SPDX-License-Identifier: BSD-2-Clause
# Goal: leasehold conformance passes over one way (first argument: process, unix, tcp), in small; every rule that this
# way can show is in its result, L1 to L36, and what it says adds up.
. "$(dirname "$0")/lib.sh"

WAY=$1
# The rules that need what this way has not: pointers (L31) are the owner process's; restarts and lease times
# (L34, L35) need a server to kill; plain calls of a client (L32) a client.
ALL="L1 L2 L3 L4 L5 L6 L7 L8 L9 L10 L11 L12 L13 L14 L15 L16 L17 L18 L19 L20 L21 L22 L23 L24 L25 L26 L27 L28 L29 L30"
case $WAY in
process) RULES="$ALL L31 L32 L33 L36" ;;
unix | tcp) RULES="$ALL L32 L33 L34 L35 L36" ;;
*) fail "usage: conformance.sh process|unix|tcp" ;;
esac

SEED=${CONFORMANCE_SEED:-$(date +%s)}
echo "seed $SEED"
"$LH" conformance --over "$WAY" --scale 0.1 --seed "$SEED" --json mem:128M >"$T/out" 2>"$T/err" || {
	python3 - "$T/out" <<-'END' || cat "$T/err"
		import json, sys
		for r in json.load(open(sys.argv[1]))["rules"]:
		    for k in r["cases"]:
		        if k["result"] != "passed":
		            print(r["rule"], k["variant"], k["result"], k["did"], "--", k["saw"])
	END
	fail "conformance over $WAY has failures; again: leasehold conformance --over $WAY --scale 0.1 --seed $SEED"
}
json 'j["failed"] == 0 and j["passed"] + j["skipped"] == len(j["rules"])'
for rule in $RULES; do
	json "any(r['rule'] == '$rule' and r['cases'] and r['text'] for r in j['rules'])"
done
# As root nothing but what this version does not have, or this machine, is left out.
json 'all(k["saw"] for r in j["rules"] for k in r["cases"] if k["result"] == "skipped")'
echo "conformance over $WAY: $(python3 -c 'import json,sys; j=json.load(open(sys.argv[1])); print(j["passed"], "passed,", j["skipped"], "skipped in %.1f s" % j["seconds"])' "$T/out")"
# And wrong usage is told.
[ "$WAY" != process ] || {
	runs 0 "$LH" conformance --list
	shows '^L36 '
	runs 2 "$LH" conformance --only L37
	runs 2 "$LH" conformance --over telepathy
	runs 2 "$LH" conformance --scale 0
}
