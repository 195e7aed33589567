# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Completion of qedsetup(8) for bash

# The verb that was typed, and how many arguments follow it
_qedsetup_words()
{
	local i

	verb=
	nr=0
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} != -* ]] || continue
		if [[ -z $verb ]]; then
			verb=${COMP_WORDS[i]}
		else
			nr=$((nr + 1))
		fi
	done
}

_qedsetup_names()
{
	qedsetup list --noheadings --raw --output NAME 2>/dev/null
}

_qedsetup()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb nr words=
	local common='--json --quiet --help'
	local -A options=(
		[create]='--cluster-size --table-size --backing --backing-format --zero --discard
			--force'
		[open]='--readonly --host --takeover --frozen --backing --if-needed --headroom --sector-size
			--buffered --known-zeroes --cache --commit-interval --low-water --zero-ahead
			--error-if-no-space --ignore-discard --no-discard-passdown'
		[close]='--deferred --cancel-deferred'
		[status]=''
		[list]='--output --noheadings --raw --bytes'
		[info]='--chain'
		[map]='--chain'
		[measure]='--size --cluster-size --table-size'
		[resize]=''
		[grow]='--headroom'
		[trim]='--no-wait'
		[check]='--no-wait'
		[rebase]='--unsafe --backing --backing-format'
		[snapshot]='--freeze --revert --cluster-size --table-size --headroom --zero
			--discard --force --buffered'
	)

	_qedsetup_words
	case $prev in
	--backing-format | -F)
		words='raw qed'
		;;
	--sector-size)
		words='512 4096'
		;;
	--cluster-size)
		words='4K 16K 64K 256K 1M'
		;;
	--table-size)
		words='2 4 8 16'
		;;
	--output | -o)
		words='NAME IMAGE SIZE USED MODE OPEN DEVICE BACKING DEPTH UUID'
		;;
	--freeze)
		words=$(virsh list --name 2>/dev/null)
		;;
	--size | --headroom | --cache | --commit-interval | --low-water | --zero-ahead)
		return
		;;
	esac
	if [[ -z $words && $cur == -* ]]; then
		words="${options[${verb:-status}]} $common"
		[[ -n $verb ]] || words="$words --version"
	elif [[ -z $words && -z $verb ]]; then
		words=${!options[*]}
	elif [[ -z $words && $((nr % 2)) == 0 && $verb == snapshot && $prev != --revert ]]; then
		words=$(_qedsetup_names)
	elif [[ -z $words && $nr == 0 && $verb =~ ^(close|status|resize|grow|trim|check)$ ]]; then
		words=$(_qedsetup_names)
	elif [[ -z $words ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _qedsetup qedsetup
