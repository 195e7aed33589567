#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lint.sh - static checks of the whole source, as TAP
#
# Usage: lint.sh
#
# Any warning fails. $KERNELS: the kernels to check against, default "6.1 6.12
# backports".

set -eu

cd "$(dirname "$0")/../.."
here=tools/testing
# shellcheck source=tap.sh
. $here/tap.sh

# The files of the source whose names match one of the patterns
sources()
{
	local pattern patterns=()

	for pattern; do
		patterns+=(-o -name "$pattern")
	done
	find . \( -path ./build -o -path ./.git -o -name __pycache__ \) -prune \
		-o -type f ! -name '*.mod.c' ! -name dm-qed-compat.h \
		\( "${patterns[@]:1}" \) -print | sort
}

# The scripts whose first line names an interpreter that matches $1
scripts()
{
	sources '*' | while read -r file; do
		if head -n 1 "$file" | tr -d '\0' | grep -Eq "^#!.*$1\b"; then
			echo "$file"
		fi
	done
}

checkpatch()
{
	local files

	mapfile -t files < <(sources '*.[ch]')
	"$("$here/get-checkers")/checkpatch.pl" --no-tree --strict --show-types \
		--terse --no-summary -f "${files[@]}"
}

kernel_doc()
{
	"$("$here/get-checkers")/kernel-doc" -none -Wall -Werror drivers/md/*.[ch] \
		tools/qed/*.h tools/qed/{boot,qedsetup}/*.h
}

shell_scripts()
{
	local files

	mapfile -t files < <({
		scripts '(ba|da)?sh'
		sources '*.sh' run
	} | sort -u)
	# SC2317: functions called by trap or by name only
	shellcheck -x -P SCRIPTDIR -e SC2317 "${files[@]}"
}

python_scripts()
{
	local files

	mapfile -t files < <({
		scripts 'python3?'
		sources '*.py'
	} | sort -u)
	pyflakes3 "${files[@]}"
}

spelling()
{
	sources '*' | grep -v -e /COPYING | xargs codespell -L inflight
}

licenses()
{
	local files

	mapfile -t files < <(sources '*.[chS]' '*.sh' '*.py' 'Kbuild' 'Kconfig' \
		'Makefile' '*.rst' '*.awk'; scripts .)
	! grep -L 'SPDX-License-Identifier: ' "${files[@]}" | grep . || return 1
}

whitespace()
{
	! sources '*' | grep -v '/COPYING\|\.patch$' |
		xargs grep -nIE '[[:space:]]+$| +	' || return 1
}

# They change with the source that they break
breaks()
{
	local patch

	for patch in "$here"/{crash/,stalls/,}breaks/*.patch; do
		patch -p1 --fuzz=0 -f -s --dry-run <"$patch" || {
			echo "$patch does not apply"
			return 1
		}
	done
}

for kernel in ${KERNELS:-6.1 6.12 backports}; do
	check "gcc W=1, $kernel" $here/build.sh "$kernel"
	# Debian's headers of 7.x lack what they ask whether sparse is new enough
	[ "$kernel" = backports ] || check "sparse, $kernel" $here/build.sh --sparse "$kernel"
done
check "gcc W=1 and sparse, 32 bits" $here/cross.sh i386
check "entries in one piece, 32 bits" $here/entries.sh
check "gcc W=1, big-endian" $here/cross.sh s390
check "checkpatch --strict" checkpatch
check "kernel-doc" kernel_doc
check "shellcheck" shell_scripts
check "pyflakes" python_scripts
check "codespell" spelling
check "license identifiers" licenses
check "white space" whitespace
check "patches that put faults back" breaks
tap_end
