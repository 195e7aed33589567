# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# apt.sh - sourced by scripts that get Debian packages

newer_debian=

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
	if [ -n "$newer_debian" ]; then
		apt-get -q update >&2
	else
		as_root apt-get -q update >&2
	fi
}

# The mirror that this machine gets Debian itself from
apt_mirror()
(
	# shellcheck disable=SC1091
	. /etc/os-release
	# shellcheck disable=SC2016	# apt's own variables
	apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk -v release="${VERSION_CODENAME:-stable}" \
			'$1 == release || $1 ~ /^(old)*stable$/ { print $2; exit }'
)

# newer_debian FOLDER: from here on, apt's programs know the packages of Debian 13 and
# its backports instead of this machine's, and none as installed. FOLDER is theirs.
newer_debian()
{
	mirror=$(apt_mirror)
	[ -n "$mirror" ] || {
		echo "${0##*/}: apt's sources name no mirror of Debian" >&2
		return 1
	}
	mkdir -p "$1/lists" "$1/cache/archives/partial"
	: >"$1/status"
	cat >"$1/debian.sources" <<-END
		Types: deb
		URIs: $mirror
		Suites: trixie trixie-backports
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
	cat >"$1/apt.conf" <<-END
		Dir::Etc::sourcelist "$1/debian.sources";
		Dir::Etc::sourceparts "-";
		Dir::State "$1";
		Dir::State::status "$1/status";
		Dir::Cache "$1/cache";
		Acquire::Languages "none";
		APT::Sandbox::User "root";
	END
	export APT_CONFIG="$1/apt.conf"
	newer_debian=$1
	apt_update
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
