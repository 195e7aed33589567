#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images with one thing wrong in the header or in a table, made by the recipes of
# "qedimg break". A wrong header is refused by every load, a wrong L1 table for writing; a
# wrong L2 table makes the device read-only as soon as it has been scanned, or read. Then, and
# with read_only, reads of what a wrong table has lost fail, all others work.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

prepare() {
	qedimg break --all "$keep"
	: >"$keep/phrases"
}

# recipe NAME: set kind, group, match, bad, good and lower
recipe() {
	local name

	while IFS=$'\t' read -r name kind group match bad good; do
		[ "$name" != "$1" ] || break
	done <"$keep/index.tsv"
	is "$name" "$1" "the recipe"
	loop "$keep/$1.qed"
	lower=$dev
}

message() {
	local line

	while read -r line; do
		echo "${line#*device-mapper: }"
	done <<<"$error"
}

# Another cause has to give another phrase.
own_phrase() {
	local phrase other said

	[[ $error =~ table:\ [0-9:]*:\ qed:\ ([^$'\n']*) ]] || fail "no error of the table"
	phrase=${BASH_REMATCH[1]}
	while IFS=$'\t' read -r other said; do
		[ "$said" != "$phrase" ] || [ "${other%%-*}" = "${group%%-*}" ] ||
			fail "'$phrase' is also what is said of $other"
	done <"$keep/phrases"
	echo "$group"$'\t'"$phrase" >>"$keep/phrases"
}

# A table of one block: what the header says of the size may be what is wrong.
t_header() {
	recipe "$1"
	is "$kind" header "the kind"
	refuse q "0 8 qed $lower"
	message
	matches "$error" "$match" "the message"
	own_phrase
	refuse q "0 8 qed $lower 1 read_only"
	matches "$error" "$match" "the message with read_only"
}

# each_range LIST COMMAND...: run the command with offset and length of every range
each_range() {
	local range ranges

	IFS=, read -ra ranges <<<"$1"
	for range in "${ranges[@]}"; do
		[ "$range" = - ] || "${@:2}" "${range%:*}" "${range#*:}"
	done
}

fails_to_read() {
	ios+=("!EIO/read:$1:512:0" "!EIO/read:$(($1 + $2 - 512)):512:0"
		"!EIO/read:$(($1 + ($2 / 2 & ~511))):512:0")
}

reads_right() {
	ios+=("cmp:$1:$2:$keep/base.raw")
}

# Whether it is to be refused depends on what the L1 table alone shows, or it is read-only then
for_writing() {
	local made

	kmsg_mark
	made=$(table "$lower" | blk dm create "$pre-q" 2>/dev/null) || made=
	case $1 in
	l1-entry-twice | l1-entry-overlaps-table | l1-entry-on-data | l1-entry-beyond-size-*)
		[ -n "$made" ] || fail "it was refused"
		;;
	l1-* | cut-table)
		[ -z "$made" ] || fail "it was not refused"
		;;
	esac
	if [ -n "$made" ]; then
		settle q
		wait_for 10 status_is q mode ro
	fi
	error=$(kmsg)
	dev=$made
}

reads_as_it_can() {
	ios=()
	is "$(status q mode)" ro "the mode"
	each_range "$good" reads_right
	each_range "$bad" fails_to_read
	io "$dev" "${ios[@]}" "!EIO/write:0:512:1"
	dm_remove q
}

t_table() {
	local reports

	recipe "$1"
	is "$kind" table "the kind"
	for_writing "$1"
	message
	matches "$error" "$match" "the message"
	matches "$error" 'qed-fsck' "the advice"
	mapfile -t reports <<<"$error"
	at_most ${#reports[@]} 12 "the number of messages"
	[ -z "$dev" ] || reads_as_it_can
	is_clean "$keep/$1.qed"

	qed q "$lower" read_only
	reads_as_it_can
}

t_dirty() {
	recipe "$1"
	no_record "$lower"
	blk poke "$lower" 16 2
	qed_refused q "$lower"
	matches "$error" "$match" "the message"
	qed_refused q "$lower" zeroed_from 1000
	matches "$error" "$match|zeroed_from" "the message with zeroed_from"
	is_dirty "$keep/$1.qed"
	qed q "$lower" read_only
	ios=()
	each_range "$good" reads_right
	io "$dev" "${ios[@]}"
}

t_base() {
	loop "$keep/base.qed"
	qed q "$dev"
	is "$(status q mode)" rw "the mode"
	is "$(status q used)" 24 "the number of used clusters"
	is "$(status q mapped)" 12 "the number of mapped clusters"
	io "$dev" "cmp:0:$(stat -c %s "$keep/base.raw"):$keep/base.raw"
}

args=(t_base "the image that all are made of is fine")
while read -r recipe what _; do
	args+=("t_$what $recipe" "wrong $what: $recipe")
done < <("$QEDIMG" break --list)
for recipe in l1-entry-one l1-entry-twice l2-entry-wraps l2-entry-twice cut-data; do
	args+=("t_dirty $recipe" "with NEED_CHECK: $recipe")
done

run "${args[@]}"
