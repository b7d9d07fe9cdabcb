# SPDX-License-Identifier: BSD-2-Clause
# Goal: every check of `leasehold conformance` fails when its rule is broken. The command here has one rule
# broken, which LEASEHOLD_MUTANT names (conformance_mutants.c); without the variable it passes all that is tried here.
# Arguments: part/parts, so that parts can run side by side; or the rules to be tried.
. "$(dirname "$0")/lib.sh"

# Of each rule: where its check is made. Most look the same over every way, and one is enough.
STREAM="--over unix --fabric stream --leases pinned"
where() {
	case $1 in
	L31) echo "--over process" ;;
	L33) echo "--over unix --fabric stream" ;;
	*) echo "$STREAM" ;;
	esac
}
RULES="L1 L2 L3 L4 L5 L6 L7 L8 L9 L10 L11 L12 L13 L14 L15 L16 L17 L18 L19 L20 L21 L22 L23 L24 L25 L26 L27 L28 L29 L30"
RULES="$RULES L31 L32 L33 L34 L35 L36"
PART=${1:-0/1}
case $PART in
L*) RULES=$* PART=0/1 ;;
esac

# status rule: passed, failed or skipped, by the result in $T/out.
status() {
	python3 -c 'import json, sys
r = [r for r in json.load(open(sys.argv[1]))["rules"] if r["rule"] == sys.argv[2]]
print(r[0]["result"] if len(r) == 1 else "absent")' "$T/out" "$1"
}
why() {
	python3 -c 'import json, sys
for r in json.load(open(sys.argv[1]))["rules"]:
    for k in r["cases"]:
        if k["result"] == "failed":
            print("   ", k["did"], "--", k["saw"])' "$T/out"
}

n=0
for rule in $RULES; do
	n=$((n + 1))
	[ $((n % ${PART#*/})) = "${PART%/*}" ] || continue
	# shellcheck disable=SC2046
	LEASEHOLD_MUTANT=$rule "$LH" conformance $(where "$rule") --only "$rule" --scale 0.1 --seed 7 --json mem:64M \
		>"$T/out" 2>"$T/err" && fail "$rule is broken, and its check passes"
	[ "$(status "$rule")" = failed ] || fail "$rule is broken, and its check says: $(status "$rule"); $(cat "$T/err")"
	echo "$rule"
	why
	# shellcheck disable=SC2046
	"$LH" conformance $(where "$rule") --only "$rule" --scale 0.1 --seed 7 --json mem:64M >"$T/out" 2>"$T/err" || {
		why
		fail "$rule fails without being broken"
	}
done
