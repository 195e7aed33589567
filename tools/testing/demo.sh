#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# demo.sh - show on one screen what dm-qed does
#
# Usage: demo.sh
#
# Builds the module for the first of $KERNELS (default 6.1) and runs
# demo-guest.sh, which is the demonstration, in a virtual machine.

set -eu

cd "$(dirname "$0")/../.."
here=tools/testing
out=build/demo
read -r kernel _ <<<"${KERNELS:-6.1}"

mkdir -p "$out"
echo "Building the module for Linux $kernel ..."
$here/build.sh "$kernel" >"$out/build.log" 2>&1 || {
	cat "$out/build.log" >&2
	exit 1
}

rm -f "$out/disk"
truncate -s 4G "$out/disk"
echo "Starting a virtual machine ..."
status=0
$here/vm/vm-run -k "$kernel" -m 2048 -t 900 -o "$out" --disk "$out/disk" \
	--module "build/$kernel/dm-qed-mod.ko" -- $here/demo-guest.sh ||
	status=$?
rm "$out/disk"
[ $status -eq 0 ] || echo "The demonstration FAILED." >&2
exit $status
