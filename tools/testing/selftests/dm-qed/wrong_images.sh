#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images with one thing wrong in the header or in a table, made by the recipes of
# "qedimg break". A wrong header is refused by every load, a wrong table for
# writing only: with read_only, reads of what it lost fail, all others work.

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

t_table() {
	local reports

	recipe "$1"
	is "$kind" table "the kind"
	qed_refused q "$lower"
	message
	matches "$error" "$match" "the message"
	matches "$error" 'qed-fsck' "the advice"
	mapfile -t reports <<<"$error"
	at_most ${#reports[@]} 12 "the number of messages"

	qed q "$lower" read_only
	is "$(status q mode)" ro "the mode"
	each_range "$good" reads_right
	each_range "$bad" fails_to_read
	refused io "$dev" "write:0:512:1"
	dm_remove q
}

t_dirty() {
	recipe "$1"
	printf '\x02' | dd of="$keep/$1.qed" bs=1 seek=16 conv=notrunc status=none
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
