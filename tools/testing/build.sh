#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh - build the module for a kernel of the tests
#
# Usage: build.sh [--sparse] KERNEL [FILE]
#
# Builds build/KERNEL/dm-qed-mod.ko for a kernel that vm/get-kernel provides: the
# Debian kernel of the series KERNEL (6.1, 6.12, ...), or one of our own. It is
# built from a copy of the source, so that the objects of several kernels never
# mix; build/KERNEL is a link to it. Only what has changed is built. Every warning
# of gcc with W=1, of modpost and, with --sparse, of sparse is an error. Where the
# kernel can tell what was executed, so does the module. FILE gets a copy of it, that
# nobody builds anew meanwhile.

set -euo pipefail

here=$(realpath "$(dirname "$0")")
tree=$(realpath "$here/../..")
sparse=()
if [ "${1-}" = --sparse ]; then
	sparse=(C=2)
	shift
fi
[ $# -eq 1 ] || [ $# -eq 2 ] || {
	echo "usage: build.sh [--sparse] KERNEL [FILE]" >&2
	exit 2
}

headers=$("$here/vm/get-kernel" -b "$1")
build=${headers##*/linux-headers-}
build=${build%/build}
build=$tree/build/${build##*/}
mkdir -p "$build"
ln -sfT "${build##*/}" "$tree/build/$1"
exec 9>"$build.lock"
flock 9

# --delete removes what left the source; what is excluded stays
rsync -a --delete --exclude='*.mod.c' --exclude=dm-qed-compat.h \
	--include='*/' --include='*.[ch]' --include='*.sh' --include=Kbuild \
	--exclude='*' "$tree/Kbuild" "$tree/drivers" "$build/"

status=0
make -C "$headers" M="$build" W=1 KCFLAGS=-Werror GCOV_PROFILE=y "${sparse[@]}" \
	modules 2>&1 | tee "$build/build.log" || status=$?
# but not those of make itself, that the clock was set back
if grep -v '^make' "$build/build.log" | grep -i 'warning: '; then
	status=1
fi
! grep 'sparse is not available' "$build/build.log" || status=1
# all of it again the next time, or a warning might not be seen twice
[ $status -eq 0 ] || rm -rf "${build:?}"/{drivers,*.o,*.mod*,*.ko,.*.cmd}
[ $status -ne 0 ] || [ $# -eq 1 ] || cp "$build/dm-qed-mod.ko" "$2"
exit $status
