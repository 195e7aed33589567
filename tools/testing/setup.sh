#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# setup.sh - install the Debian packages that building and testing need
#
# Usage: setup.sh
#
# Installs what is missing of the list in the file packages, as root or through
# sudo, and does nothing if nothing is missing.

set -eu

here=$(dirname "$0")

# shellcheck source=apt.sh
. "$here/apt.sh"

# The packages of the list that are not installed
missing()
{
	list=$(sed 's/#.*//' "$here/packages")
	for package in $list; do
		# shellcheck disable=SC2016	# dpkg-query's own variables
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" \
			2>/dev/null) || status=
		[ "$status" = installed ] || echo "$package"
	done
}

command -v apt-get >/dev/null || {
	echo "setup.sh: this needs Debian or a system like it" >&2
	exit 1
}

packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ]; then
	apt_update
	echo "setup.sh: installing $packages" >&2
	# shellcheck disable=SC2086	# a list of words
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -q install -y --no-install-recommends $packages >&2
fi
