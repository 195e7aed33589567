# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# tap.sh - sourced by scripts that report what they check as TAP
#
#   check NAME COMMAND [ARG...]	one test: passes if COMMAND, under set -e, does
#   tap_end			the plan; exits with 1 if any test failed
#
# To be used with set -e. The output of a COMMAND that fails follows its verdict as comments.

tap_count=0
tap_failed=0

check()
{
	local name=$1 output status

	shift
	tap_count=$((tap_count + 1))
	set +e	# a condition would switch it off within COMMAND, too
	output=$(set -e; "$@" 2>&1 </dev/null)
	status=$?
	set -e
	if [ $status -eq 0 ]; then
		echo "ok $tap_count $name"
	else
		tap_failed=$((tap_failed + 1))
		echo "not ok $tap_count $name"
		printf '%s\n' "$output" | sed 's/^/#   /'
	fi
}

tap_end()
{
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ] || exit 1
	exit 0
}
