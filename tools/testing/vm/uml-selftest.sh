#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# uml-selftest.sh - tests of uml-run, as TAP: on what hosts it runs
#
# Usage: uml-selftest.sh

set -eu

here=$(realpath "$(dirname "$0")")
out=$(realpath "$here/../../..")/build/uml-selftest
# shellcheck source=../tap.sh
. "$here/../tap.sh"

# Numbers of floating point, from processes that take turns, as files in folder $0
# shellcheck disable=SC2016	# for the shell there
sums='
for i in 1 2 3 4; do
	awk -v i=$i "BEGIN { for (n = 0; n < 20000; n++) x += sin(n * i) / 3; print x }" \
		>"$0/sum.$i" &
done
wait'

build()
{
	gcc -O2 -Wall -Wextra -Werror -o "$out/amx-host" "$here/amx-host.c"
}

# The registers of the host are more than User-Mode Linux knows of. The numbers are as
# they are here.
amx()
{
	local i

	rm -rf "$out/here" "$out/amx"
	mkdir -p "$out/here" "$out/amx"
	sh -c "$sums" "$out/here"
	"$here/uml-run" -t 500 -o "$out/amx" --under "$out/amx-host" -- \
		sh -c "$sums" "$out/amx"
	for i in 1 2 3 4; do
		[ -s "$out/amx/sum.$i" ]
		cmp "$out/here/sum.$i" "$out/amx/sum.$i"
	done
}

# It does not take them at all: that is said at once, and not what came of it
refused()
{
	local status=0

	SECONDS=0
	"$here/uml-run" -t 200 -o "$out/refused" --under "$out/amx-host --refuse" -- true \
		>"$out/said" 2>&1 || status=$?
	cat "$out/said"
	[ "$status" -eq 120 ] && [ "$SECONDS" -lt 100 ] || return 1
	grep 'does not take the registers' "$out/said"
}

mkdir -p "$out"
check "a host with AMX, as it seems to User-Mode Linux" build
check "it runs on a host whose processors have AMX" amx
check "it says why it does not run on another" refused
tap_end
