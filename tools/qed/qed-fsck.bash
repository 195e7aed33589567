# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Completion of qed-fsck(8) for bash

_qed_fsck()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local options='-n -p -a -r -y -f -v -q -C -j -h -V --json --stats --direct --force
		--chain --compact --cut --discard --geometry --orphans --reconnect --takeover
		--undo --undo-apply --help --version'

	case $prev in
	-C)
		mapfile -t COMPREPLY < <(compgen -W '0 1 2' -- "$cur")
		return
		;;
	-j)
		mapfile -t COMPREPLY < <(compgen -W '1 2 4 8 16' -- "$cur")
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
	else
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -F _qed_fsck qed-fsck fsck.qed
