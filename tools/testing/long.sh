#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# long.sh KERNEL SELFTEST NAME=VALUE - run a selftest for longer than make check does,
# on a kernel of the tests; NAME=VALUE makes it longer

set -e

cd "$(dirname "$0")/../.."
selftests=tools/testing/selftests/dm-qed
tools/testing/build.sh "$1" >/dev/null
make -s -C $selftests OUTPUT="$PWD/build/selftests"
make -s -C tools/qed
exec tools/testing/vm/vm-run -k "$1" -m 2048 -t 14400 --env "$3" \
	--program fio --env OUTPUT="$PWD/build/selftests" -o "build/long/$2-$1" \
	--module "build/$1/dm-qed-mod.ko" -- "$selftests/$2.sh"
