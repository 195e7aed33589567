#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh - build what the crash tests need for a kernel
#
# Usage: build.sh KERNEL [BREAK...]
#
# Makes build/crash/KERNEL/modules: the recorder, the workload program, the
# module as clean.ko, and for each patch breaks/BREAK.patch the module with it as
# BREAK.ko. The source stays as it is: patches go to a copy. The explorer is in
# build/crash/explore, its test in build/crash/test. CRASH_BUILD in the environment is
# a folder instead of build/crash/KERNEL.

set -euo pipefail

here=$(dirname "$(realpath "$0")")
tree=$(realpath "$here/../../..")
kernel=$1
shift
out=${CRASH_BUILD:-$tree/build/crash/$kernel}
headers=$("$here/../vm/get-kernel" -b "$kernel")
# shellcheck source=../broken.sh
. "$here/../broken.sh"

mkdir -p "$out"/{modules,recorder}
gcc -O2 -Wall -Wextra -Werror -pthread -o "$out/modules/load" "$here/load.c"
gcc -O2 -Wall -Wextra -Werror -o "$out/modules/tend" "$here/tend.c" "$here/../faults/mapper.c" \
	-ldevmapper
for program in explore test; do
	gcc -O2 -g -Wall -Wextra -Werror -o "${out%/*}/$program" \
		"$here/$program.c" "$here/disk.c" "$here/judge.c"
done

cp -u "$here/recorder/Kbuild" "$here"/recorder/*.c "$here/trace.h" "$out/recorder/"
make -s -C "$headers" M="$out/recorder" KCFLAGS=-g0 CONFIG_DEBUG_INFO_BTF_MODULES= modules
cp "$out/recorder/dm-crash-record.ko" "$out/modules/"
"$here/../build.sh" "$kernel" "$out/modules/clean.ko" >"$out/build.log" 2>&1 || {
	cat "$out/build.log"
	exit 1
}

[ $# -gt 0 ] || exit 0
broken_in "$kernel" "$out"
broken_start
for name; do
	broken_module "$here/breaks/$name.patch"
	mv "$out/broken/dm-qed-mod.ko" "$out/modules/$name.ko"
done
