# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# apt.sh - sourced by scripts that get Debian packages

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

apt_update()
{
	echo "${0##*/}: updating the package lists" >&2
	as_root apt-get -q update >&2
}

# Download packages into the current folder
apt_download()
{
	apt-get -q -o APT::Sandbox::User=root download "$@" >&2
}

# Run COMMAND; if it fails, because the lists of packages name what the mirrors
# no longer have, or not yet what they have, once more with new lists
with_lists()
{
	"$@" || { apt_update && "$@"; }
}
