#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# dkms.sh KERNEL: have DKMS build the module for a kernel of the tests, in a folder
# of its own: nothing is installed.

set -e

here=$(dirname "$(readlink -f "$0")")
tree=$here/../..
headers=$("$here/vm/get-kernel" -b "$1")
version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' "$tree/dkms.conf")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

mkdir -p "$tmp/tree" "$tmp/src/dm-qed-$version"
cp -r "$tree/dkms.conf" "$tree/Kbuild" "$tree/Makefile" "$tree/drivers" "$tree/tools" \
	"$tmp/src/dm-qed-$version"
dkms build --dkmstree "$tmp/tree" --sourcetree "$tmp/src" -m "dm-qed/$version" \
	-k "$(basename "$headers" | sed 's/^linux-headers-//')" --kernelsourcedir "$headers" || {
	cat "$tmp"/tree/dm-qed/*/build/make.log
	exit 1
}
find "$tmp/tree" -name dm-qed-mod.ko | grep -q .
