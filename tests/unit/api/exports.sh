#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Goal: the shared library exports exactly the calls of the public header, each under its release's version.
# exports.sh LIBRARY HEADER MAP
set -eu
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
command -v nm >/dev/null || { echo "nm is missing (package binutils)"; exit 77; }
grep -o 'LH_API [^;]*' "$2" | grep -o 'lh_[a-z_]*(' | tr -d '(' | sort -u >"$work/header"
# A prototype may mention function pointers, whose names do not begin with lh_.
nm -D --defined-only "$1" | awk '$2 ~ /[TD]/ { print $3 }' | sort >"$work/exported"
sed 's/@.*//' "$work/exported" | sort -u >"$work/names"
sed -n 's/^\t\(lh_[a-z_]*\);$/\1/p' "$3" | sort >"$work/map"
diff -u "$work/header" "$work/map" || { echo "the header and the version script differ"; exit 1; }
diff -u "$work/map" "$work/names" || { echo "the version script and the library differ"; exit 1; }
if grep -v '@@leasehold_0\.1$' "$work/exported"; then
	echo "exported without a version"
	exit 1
fi
# dlopen places the library's thread-local memory in what the loader keeps back for it: some 1,600 bytes for all libraries.
tls=$(readelf -lW "$1" | awk '$1 == "TLS" { print $6 }')
if [ $((${tls:-0})) -gt 1024 ]; then
	echo "$((tls)) bytes of thread-local memory: dlopen will refuse the library"
	exit 1
fi
echo "$(wc -l <"$work/names") calls are exported"
