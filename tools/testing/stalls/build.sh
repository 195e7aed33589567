#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh - build modules that stall at points, and what the tests of them need
#
# Usage: build.sh KERNEL [BREAK...]
#
# Makes build/stalls/KERNEL/modules: the module with stalls as clean.ko, and for each
# patch breaks/BREAK.patch the module with that fault put back as BREAK.ko. The source
# stays as it is: patches and stalls go into a copy.

set -euo pipefail

here=$(dirname "$(realpath "$0")")
tree=$(realpath "$here/../../..")
kernel=$1
shift
out=$tree/build/stalls/$kernel
headers=$("$here/../vm/get-kernel" -b "$kernel")

# module NAME: build what is in $out/build
module()
{
	local name=$1 source=$out/build/drivers/md

	"$here/insert" "$here/points" "$source"
	cp "$here"/dm-qed-stall.[ch] "$source/"
	echo 'dm-qed-mod-y += drivers/md/dm-qed-stall.o' >>"$out/build/Kbuild"
	# by content, so that only what differs from the module before is built anew
	rsync -rlpc --delete --exclude='*.o' --exclude='*.ko' --exclude='.*.cmd' \
		--exclude='*.mod*' --exclude='*.order' --exclude='*.symvers' \
		--exclude=dm-qed-compat.h "$out/build/" "$out/objects/"
	make -s -C "$headers" M="$out/objects" \
		KCFLAGS="-g0 -Wno-declaration-after-statement" \
		CONFIG_DEBUG_INFO_BTF_MODULES= modules
	cp "$out/objects/dm-qed-mod.ko" "$out/modules/$name.ko"
}

# copy [PATCH]: the source, broken if there is a patch
copy()
{
	rsync -rlpc --delete --include='*/' --include='*.[ch]' --include='*.sh' \
		--include=Kbuild --exclude='*' --delete-excluded "$tree/Kbuild" "$tree/drivers" \
		"$out/build/"
	[ $# -eq 0 ] || patch -d "$out/build" -p1 --fuzz=0 -s --no-backup-if-mismatch <"$1"
}

mkdir -p "$out"/{modules,build,objects}
copy
module clean
for name; do
	copy "$here/breaks/$name.patch"
	module "$name"
done
