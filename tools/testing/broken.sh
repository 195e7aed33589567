# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# broken.sh - sourced by scripts that put faults back into copies of the source
#
#   broken_in KERNEL FOLDER	for this kernel, in this folder
#   broken_start		unbroken there is the source, with the module of it
#   broken_source PATCH		broken is a copy of that with the patch
#   broken_module PATCH		the same with the module of it, dm-qed-mod.ko
#
# The source itself stays as it is. Of a broken module only what its patch changes is built.

# What only debuggers need is left out
broken_build()
{
	make -s -C "$broken_headers" M="$broken_folder/broken" KCFLAGS=-g0 CONFIG_DEBUG_INFO_BTF_MODULES= modules
}

broken_in()
{
	broken_tree=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
	broken_headers=$("$broken_tree/tools/testing/vm/get-kernel" -b "$1")
	broken_folder=$2
}

broken_start()
{
	mkdir -p "$broken_folder/broken"
	# by content, or objects of a break could pass for those of the source
	rsync -rlpc --delete --exclude='*.mod.c' --exclude=dm-qed-compat.h \
		--include='*/' --include='*.[ch]' --include='*.sh' --include=Kbuild \
		--exclude='*' "$broken_tree/Kbuild" "$broken_tree/drivers" \
		"$broken_folder/broken/"
	broken_build
	rsync -a --delete "$broken_folder/broken/" "$broken_folder/unbroken/"
}

broken_source()
{
	rsync -a --delete "$broken_folder/unbroken/" "$broken_folder/broken/"
	patch -d "$broken_folder/broken" -p1 --fuzz=0 -s --no-backup-if-mismatch <"$1"
}

broken_module()
{
	broken_source "$1" && broken_build
}
