#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs tests in the manner of kselftest: run_tests.sh TEST...
#
# Each may take as long as the file settings says, or TIMEOUT in the environment.
# Exit status: 0 if none failed.

set -u
cd "$(dirname "$0")" || exit 1

timeout=${TIMEOUT:-$(sed -n 's/^timeout=//p' settings)}
nr=0
failed=()

echo "TAP version 13"
echo "1..$#"
for test; do
	test=${test%.sh}
	nr=$((nr + 1))
	start=$SECONDS
	echo "# selftests: dm-qed: $test"
	timeout --kill-after=60 "$timeout" "./$test.sh" 2>&1 | sed -u 's/^/# /'
	rc=${PIPESTATUS[0]}
	text="$nr selftests: dm-qed: $test"
	took="$((SECONDS - start)) s"
	case $rc in
	0)
		echo "ok $text # $took"
		;;
	4)
		echo "ok $text # SKIP $took"
		;;
	124 | 137)
		echo "not ok $text # TIMEOUT $timeout seconds"
		failed+=("$test")
		;;
	*)
		echo "not ok $text # exit=$rc $took"
		failed+=("$test")
		;;
	esac
done
echo "# $SECONDS s for $nr tests, ${#failed[@]} failed${failed[*]:+: ${failed[*]}}"
[ ${#failed[@]} = 0 ]
