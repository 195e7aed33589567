#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# power.sh KERNEL: cut the power of an image's disk $ROUNDS times, by default 500, on
# a kernel of the tests

set -e

cd "$(dirname "$0")/../.."
selftests=tools/testing/selftests/dm-qed
tools/testing/build.sh "$1" >/dev/null
make -s -C $selftests OUTPUT="$PWD/build/selftests"
exec tools/testing/vm/vm-run -k "$1" -m 2048 -t 14400 --env ROUNDS="${ROUNDS:-500}" \
	--env OUTPUT="$PWD/build/selftests" -o "build/power-$1" \
	--module "build/$1/dm-qed-mod.ko" -- $selftests/power_cuts.sh
