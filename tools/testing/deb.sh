#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# deb.sh - build the Debian packages, in build/deb
#
# Usage: deb.sh [--fast]
#
# Source and binary packages of a copy of the tree, so that nothing of them gets into it; a
# finding of lintian fails. --fast: without that.

set -eu

cd "$(dirname "$0")/../.."
out=$PWD/build/deb
version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)

rm -rf "$out"
mkdir -p "$out"
rsync -a --exclude=/build --exclude=.git --filter=':- .gitignore' ./ "$out/dm-qed-$version"
cd "$out/dm-qed-$version"
packaged=$(dpkg-parsechangelog -S Version)
if [ "$packaged" != "$version" ]; then
	echo "deb.sh: version $packaged in debian/changelog, $version in dkms.conf" >&2
	exit 1
fi
DEB_BUILD_OPTIONS="noautodbgsym parallel=$(nproc)" \
	dpkg-buildpackage --build=full -us -uc >"$out/build.log" 2>&1 || {
	tail -n 40 "$out/build.log" >&2
	exit 1
}
cd "$out"
rm -r "dm-qed-$version"
[ "${1-}" = --fast ] || lintian --allow-root --fail-on error,warning ./*.changes
ls ./*.deb
