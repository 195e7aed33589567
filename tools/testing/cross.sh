#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# cross.sh - compile the module for another kind of machine
#
# Usage: cross.sh i386|s390
#
# One has 32 bits, the other one is big-endian. Every warning of gcc with W=1 is an
# error, on i386 also those of sparse (s390's own cmpxchg() has some), and so is a
# division of 64 bits that a kernel of 32 bits does not have. Only objects are made, for a kernel of which there are no more than the
# headers, prepared once: cache ${XDG_CACHE_HOME:-$HOME/.cache}/dm-qed/prepared.

set -euo pipefail

here=$(realpath "$(dirname "$0")")
tree=$(realpath "$here/../..")
case ${1-} in
i386) prefix=i686-linux-gnu- sparse=2 ;;
s390) prefix=s390x-linux-gnu- sparse=0 ;;
*)
	echo "usage: cross.sh i386|s390" >&2
	exit 2
	;;
esac
arch=$1

# prepare SOURCE DIR: the headers of a kernel
prepare()
{
	local make=(make -s -C "$1" "O=$2" "ARCH=$arch" "CROSS_COMPILE=$prefix")

	mkdir -p "$2"
	"${make[@]}" tinyconfig
	printf 'CONFIG_%s\n' SMP=y MODULES=y BLOCK=y MD=y BLK_DEV_DM=m >>"$2/.config"
	"${make[@]}" olddefconfig
	grep -qx CONFIG_BLK_DEV_DM=m "$2/.config"
	"${make[@]}" modules_prepare
	touch "$2/ready"
}

source=$(realpath "$("$here/vm/build-kernel" nested)/source")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dm-qed/prepared
headers=$cache/$arch-${source##*/}-$(sha256sum <"$0" | cut -c 1-12)
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$headers/ready" ]; then
	echo "cross.sh: preparing the headers for $arch" >&2
	rm -rf "$cache/$arch"-*
	prepare "$source" "$headers" >"$cache/$arch.log" 2>&1 || {
		tail -n 20 "$cache/$arch.log" >&2
		exit 1
	}
fi
flock -u 9

build=$tree/build/cross-$arch
mkdir -p "$build"
exec 9>"$build.lock"
flock 9
rsync -a --delete --exclude=dm-qed-compat.h --include='*/' --include='*.[ch]' \
	--include='*.sh' --include=Kbuild --exclude='*' \
	"$tree/Kbuild" "$tree/drivers" "$build/"
status=0
make -C "$headers" M="$build" ARCH="$arch" CROSS_COMPILE="$prefix" W=1 KCFLAGS=-Werror \
	C="$sparse" dm-qed-mod.o 2>&1 | tee "$build/build.log" || status=$?
if grep -v '^make' "$build/build.log" | grep -i 'warning: '; then
	status=1
fi
if "${prefix}nm" -u "$build/dm-qed-mod.o" | grep -E '__u?(div|mod)(di|ti)3'; then
	echo "cross.sh: a division of 64 bits needs div64_u64()" >&2
	status=1
fi
# all of it again the next time, or a warning might not be seen twice
[ $status -eq 0 ] || rm -rf "${build:?}"/{drivers,*.o,.*.cmd}
exit $status
