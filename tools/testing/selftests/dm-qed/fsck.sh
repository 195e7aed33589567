#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qed-fsck and the kernel agree about damaged images. The images come from
# tools/testing/fsck/corpus, with an index of what has to be:
#
#   NAME VERDICT CODES STATUS-N STATUS-Y LATER BEFORE AFTER
#
# VERDICT is what the kernel does: "header" refuses every load, "backing" as well, for its
# backing file, "fine" none. With "table" nothing is written: it refuses all but read_only,
# or is read-only as soon as it has scanned a clean image. CODES is
# what qed-fsck finds on the device. LATER is the verdict after a repair of the
# file. BEFORE and AFTER are ranges of the guest's disk that are as in NAME.raw.
#
# $FSCK_IMAGES or $OUTPUT/fsck has the images, or they are made.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

corpus=$here/../../fsck/corpus/corpus
images=${FSCK_IMAGES:-${OUTPUT:+$OUTPUT/fsck}}

prepare() {
	if ! [ -e "$images/index.tsv" ]; then
		images=$keep/images
		"$corpus" --no-qemu kernel "$images"
	fi
	echo "$images" >"$keep/where"
}

# fsck STATUS OPTION... IMAGE: sets $json, if that is said
fsck() {
	local got=0

	json=$("$QED_FSCK" "${@:2}" 2>"$tmp/lib/fsck.err") || got=$?
	if [ "$got" != "$1" ]; then
		echo "$json" | tail -n 20
		cat "$tmp/lib/fsck.err"
		fail "qed-fsck ${*:2}: exit status $got, expected $1"
	fi
}

# found CODE:COUNT,...: no more and no less, in $json
found() {
	local counts code expected=()

	[[ $json =~ \"counts\":\{([^}]*)\} ]] || fail "no counts: $json"
	counts=${BASH_REMATCH[1]}
	[ "$1" = - ] || IFS=, read -ra expected <<<"$1"
	for code in "${expected[@]}"; do
		[[ ,$counts, == *",\"${code%:*}\":${code#*:},"* ]] ||
			fail "qed-fsck found $counts, expected $1"
	done
	IFS=, read -ra counts <<<"$counts"
	is "${#counts[@]}" "${#expected[@]}" "the number of codes ($1)"
}

# compare RANGES: of $dev, with the raw file
compare() {
	local range ranges ios=()

	[ "$1" != - ] || return 0
	IFS=, read -ra ranges <<<"$1"
	for range in "${ranges[@]}"; do
		ios+=("cmp:$range:$images/$name.raw")
	done
	io "$dev" "${ios[@]}"
}

# activates LOWER MODE [OPTION]...: an image, and reads what it has
activates() {
	qed q "$1" "${@:3}"
	is "$(status q mode)" "$2" "the mode"
}

# refused_header LOWER WHAT: the header is refused, also for reading. The size of
# the device is not that of the header, which may be what is wrong.
refused_header() {
	refuse q "0 8 qed $1"
	matches "$error" "$2" "the message"
	refuse q "0 8 qed $1 1 read_only"
	matches "$error" "$2" "the message with read_only"
}

# defective LOWER: it is refused, or, if it was clean, read-only after a scan
defective() {
	local dirty=

	! is_dirty "$1" || dirty=1
	kmsg_mark
	if blk dm create "$pre-q" >"$tmp/lib/made" 2>&1 <<<"$(table "$1")"; then
		[ -z "$dirty" ] || fail "an image to be checked is in use before it has been scanned"
		settle q
		wait_for 10 status_is q mode ro
		dm_remove q
	fi
	matches "$(kmsg)" 'defects? in the (L1 table|tables): run qed-fsck' "the message"
}

# kernel_says VERDICT LOWER RANGES: what the kernel does with an image
kernel_says() {
	case $1 in
	header)
		refused_header "$2" 'qed: .*(invalid|not a|unknown|image |too )'
		;;
	backing)
		refused_header "$2" 'has a backing file'
		;;
	table)
		defective "$2"
		activates "$2" ro read_only
		compare "$3"
		dm_remove q
		;;
	fine)
		activates "$2" rw
		compare "$3"
		dm_remove q
		;;
	*)
		fail "verdict $1"
		;;
	esac
}

# One image: on the device, and repaired in the file
try_image() {
	local lower file=$tmp/$name.qed

	cp --sparse=always "$images/$name.qed" "$file"
	loop "$file"
	lower=$dev
	fsck "$status_n" -nf --json "$lower"
	[ "$status_n" = 8 ] || found "$codes"
	kernel_says "$verdict" "$lower" "$before"
	unloop "$lower"

	fsck "$status_y" -yf --cut clear --json "$file"
	loop "$file"
	lower=$dev
	kernel_says "$later" "$lower" "$after"
	unloop "$lower"
	rm "$file"
}

# t_group GROUP: all images of one
t_group() {
	local count=0

	images=$(cat "$keep/where")
	while IFS=$'\t' read -r name verdict codes status_n status_y later before after; do
		[ "${name%%.*}" = "$1" ] || continue
		count=$((count + 1))
		echo "image $name"
		try_image
	done <"$images/index.tsv"
	at_least "$count" 4 "the number of images"
	note "$count images"
}

# What the kernel writes has no faults, in use or not.
t_written() {
	image "$tmp/img" $((24 * mb)) 4096 2
	truncate -s 32M "$tmp/img"
	loop "$tmp/img"
	lower=$dev
	qed q "$lower"
	hammer -G 0 -t 1 -n 200 -S 7 -r 0 -F 5 -D 10 -b 65536 -l $((24 * mb)) "$dev"
	fsck 8 -nf --json "$lower"
	fsck 0 -nf --force --json "$lower"
	dm_remove q
	fsck 0 -nf --json "$lower"
	found -
	unloop "$lower"
	# all of the file that was not used is its tail
	fsck 1 -pf --json "$tmp/img"
	is "$(stat -c %s "$tmp/img")" "$(qedimg hwm "$tmp/img")" "the length of the file"
	fsck 0 -nf --json "$tmp/img"
}

# account STEP: the status of the device that is in use says what qed-fsck counts
account() {
	commit q
	wait_for 20 status_is q reclaiming 0
	get q
	examine "$lower"
	is "$(member corruptions) $(member leaks)" "0 0" "defects and leaks after: $1"
	is "$used" "$(member used-clusters)" "the number of used clusters after: $1"
	is "$mapped" "$(member allocated-clusters)" "the number of mapped clusters after: $1"
	is "$virtual" "$(member total-clusters)" "the size of the disk after: $1"
	is "$free" $((total - used)) "the number of free clusters after: $1"
	at_least "$free" "$(member free-clusters)" "... with those below the high-water mark"
}

t_accounting() {
	local c=4096

	truncate -s 16M "$tmp/img"
	image "$tmp/img" $((24 * mb)) "$c" 2
	truncate -s 16M "$tmp/img"
	loop "$tmp/img"
	lower=$dev
	qed q "$lower"
	scanned q
	account activation
	io "$dev" "write:0:$mb:1" "write:$((8 * mb)):$((3 * c)):2" "write:$((20 * mb + 512)):512:3"
	account "writes, with new tables"
	io "$dev" "write:$c:$mb:4"
	account "writes in place, and one new cluster"
	io "$dev" "discard:$((c / 2)):$((9 * c))"
	account "a discard"
	io "$dev" "punch:$((64 * c)):$((16 * c))" "write:$((70 * c)):$c:5"
	account "zeroes, and a write to one of them"
	io "$dev" "discard:$((8 * mb)):$((4 * mb))"
	account "a discard of all that a table maps"
	io "$dev" "write:$((4 * mb)):$mb:6"
	account "writes to freed clusters"
	dmsetup message "$pre-q" 0 trim
	wait_for 20 status_is q trim -
	account "trim"
	io "$dev" "discard:0:$((8 * mb))"
	hammer -T -f "$tmp/state" -t 2 -n 300 -U 30 -C "$c" -F 4 -l $((8 * mb)) "$dev"
	account "many of all these"
	dmsetup message "$pre-q" 0 resize $((32 * mb / 512))
	dm_swap q "$(table "$lower")"
	scanned q
	io "$dev" "write:$((30 * mb)):$((2 * c)):7"
	account "growth"
	dmsetup message "$pre-q" 0 check
	wait_for 20 status_is q check 0,0
}

# no_change FILE COMMAND...: the file is as before
no_change() {
	local before

	before=$(md5sum <"$1")
	"${@:2}"
	is "$(md5sum <"$1")" "$before" "the file's content"
}

# An image that is active is not touched, through its device or through its file.
# t_in_use OPTION...: of the table
t_in_use() {
	local mode where

	image "$tmp/img" $((24 * mb))
	truncate -s 1M "$tmp/img"
	loop "$tmp/img"
	lower=$dev
	qed q "$lower" "$@"
	for where in "$lower" "$tmp/img"; do
		for mode in -pf -yf -nf -y; do
			no_change "$tmp/img" fsck 8 "$mode" --json "$where"
			[[ $json == *'"error":'* ]] || fail "no error in JSON: $json"
		done
		no_change "$tmp/img" fsck 8 -yf --compact "$where"
	done
	fsck 0 -nf --force --json "$lower"
	found -
	fsck 4 -nf --force --json "$tmp/img"
	found leak-tail:1

	# a device that is suspended or has an inactive table only is in use as well
	dm_suspend q
	fsck 8 -yf --json "$lower"
	fsck 8 -yf --json "$tmp/img"
	dm_resume q
	dm_remove q

	# the file behind a loop device, which somebody may open, may be read
	fsck 8 -yf --json "$tmp/img"
	fsck 4 -nf --json "$tmp/img"
	fsck 0 -yf --json "$lower"
	unloop "$lower"
	fsck 1 -yf --json "$tmp/img"
}

# A mounted filesystem on the lower device, or another writer
t_held() {
	image "$tmp/img" $((24 * mb))
	truncate -s 1M "$tmp/img"
	loop "$tmp/img"
	lower=$dev
	linear l "$lower"
	fsck 8 -yf --json "$lower"
	fsck 8 -nf --json "$lower"
	# the image is on the layer then
	fsck 0 -yf --json "$dev"
	qed q "$dev"
	fsck 8 -yf --json "/dev/mapper/$pre-l"
	fsck 8 -yf --json "$tmp/img"
}

# On a device nothing is leaked, and clusters that are free stay.
t_device() {
	image "$tmp/img" $((24 * mb)) 4096 2
	truncate -s 16M "$tmp/img"
	loop "$tmp/img"
	lower=$dev
	fsck 0 -nf --json "$lower"
	found -
	qedimg set-feature "$lower" incompat +2
	fsck 0 -nf --json "$lower"
	found need-check:1
	fsck 1 -p --json "$lower"
	is_clean "$lower"
	fsck 0 -p --json "$lower"
	is "$(stat -c %s "$tmp/img")" $((16 * mb)) "the length of the file"
}

args=()
for group in sound header l1-entry l1-special l2-entry l2-special space pair qemu random extreme; do
	args+=("t_group $group" "the kernel agrees: $group")
done
run "${args[@]}" \
	t_written "no fault in what the kernel has written" \
	t_accounting "the status says what qed-fsck counts" \
	t_in_use "an active image is not touched" \
	"t_in_use read_only" "an image that is active for reading is not touched" \
	t_held "a device that is held is not touched" \
	t_device "on a device there are no leaks"
