#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Who has an image: what a review has found. Each of these fails as the code is.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536
img=					# the file
one=					# two loop devices over it
two=
q=

file() {
	img=$tmp/image.qed
	truncate -s 128M "$img"
	image "$img" $((64 * mb)) "$c" 4 0
	loop "$img"
	one=$dev
	loop "$img"
	two=$dev
	qed q "$one" zeroed_from 5
	io "$dev" "write:0:$c:0x11" flush
	dm_remove q
	sync
}

# qemu-img check -r on an active image clears bit 63. The module still knows who has it.
t_void_path() {
	local p

	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	no_record "$img"
	sync
	kmsg_mark
	if p=$(blk dm create "$pre-p" <<<"$(table "$two")"); then
		settle p
		note "p: $(blk dm status "$pre-p")"
		io "$p" "write:$((2 * c)):$c:0x33" flush || true
		# q has NEED_CHECK set, and does not look
		io "$q" "write:$((3 * c)):$c:0x44" flush || true
		note "q: $(blk dm status "$pre-q")"
		dm_remove p
		dm_remove q
		sync
		"$QED_FSCK" -nf --force "$img" || true
		qed r "$one" read_only
		io "$dev" "read:$((2 * c)):$c:0x33" || note "what p has flushed is lost"
		io "$dev" "read:$((3 * c)):$c:0x44" || note "what q has flushed is lost"
		fail "two writers on one host"
	fi
}

# qed-fsck on one path, the device on another one: a file is refused, the loop device is not.
t_fsck_path() {
	local rc=0

	file
	qed q "$one" commit_interval 3600000
	q=$dev
	io "$q" "write:$c:$((4 * c)):0x22"
	"$QED_FSCK" -p --discard "$img" && fail "the file was not refused"
	"$QED_FSCK" -p --discard "$two" || rc=$?
	io "$q" flush
	note "q: $(blk dm status "$pre-q")"
	io "$q" "read:$c:$((4 * c)):0x22" || fail "data is lost that was flushed; qed-fsck: $rc"
	is "$rc" 8 "the status of qed-fsck"
}

# Two images that are the same, as after a copy of a template: a device that does not answer keeps
# the other one from being activated.
t_template() {
	local pid start ms other lower

	need_target delay
	file
	cp --sparse=always "$img" "$tmp/other.qed"
	loop "$tmp/other.qed"
	other=$dev
	dm l "0 $(sectors_of "$one") delay $one 0 0 $one 0 15000"
	lower=$dev
	dm q "0 $((64 * mb / 512)) error"
	dm_load q "$(table "$lower")"
	bg "$bin/blk" dm resume "$pre-q"
	pid=$!
	sleep 1
	start=${EPOCHREALTIME/./}
	qed p "$other"
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	note "activated after $ms ms"
	dm_remove p
	wait "$pid" || note "the other one has failed"
	at_most "$ms" 5000 "the milliseconds of an activation of another image"
}

header_on() {
	dm_swap l "0 8 $1"$'\n'"8 $(($(sectors_of "$one") - 8)) linear $one 8"
}

# A header that cannot be read for a moment, when the device is suspended and when it is resumed
t_bad_resume() {
	file
	linear l "$one"
	qed q "$dev"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	header_on error
	dm_suspend q
	dm_resume q && note "resumed" || note "not resumed"
	note "q: $(blk dm status "$pre-q")"
	header_on "linear $one 0"
	dm_suspend q || true
	dm_resume q
	note "q: $(blk dm status "$pre-q")"
	is "$(status q mode)" rw "the mode"
	io "$q" "write:$((2 * c)):$c:0x33" flush "read:$c:$c:0x22"
}

# Somebody else has crashed, who keeps no order, and a disk with a cache and FUA has kept what he
# wrote. Then that is lost: that the record says the tables are in order must not be more durable.
# The layer l is the disk: what is not flushed is in another file.
t_volatile() {
	local stable cache rc=0

	img=$tmp/stable.qed
	truncate -s 128M "$img"
	image "$img" $((64 * mb)) "$c" 4 2
	blk poke "$img" "$c" $((5 * c))
	# the table, in a recycled cluster: two entries are the same
	blk poke "$img" $((5 * c)) $((20 * c))
	blk poke "$img" $((5 * c + 8)) $((20 * c))
	cp --sparse=always "$img" "$tmp/cache.qed"
	blk poke "$tmp/cache.qed" $((5 * c + 8)) $((21 * c))
	loop "$img"
	stable=$dev
	loop "$tmp/cache.qed"
	cache=$dev
	dm l "0 8 linear $stable 0"$'\n'"8 $(($(sectors_of "$stable") - 8)) linear $cache 8"
	lower=$dev
	io_start "$cache"
	qed q "$lower"
	io_end "$cache"
	is "$(status q mode)" rw "the mode"
	[ "$flushes" = 0 ] || return 0
	# nothing was flushed, so this may be lost
	dm_swap l "0 $(sectors_of "$stable") error"
	dm_remove q
	dm_swap l "0 $(sectors_of "$stable") linear $stable 0"
	note "entry 1: $(blk u64 "$lower" $((5 * c + 8))), autoclear $(blk u64 "$lower" 32), features $(blk u64 "$lower" 16)"
	kmsg_mark
	qed_at_once q "$lower" || rc=$?
	[ $rc != 0 ] || note "q: $(blk dm status "$pre-q")"
	[ $rc != 0 ] || fail "activated without a scan, with tables that were never in order"
}

# An undo file, applied by force to an image that has been used since
t_undo() {
	file
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	# an entry that is wrong
	blk poke "$img" $((5 * c + 700 * 8)) 291
	sync
	blockdev --flushbufs "$one"
	"$QED_FSCK" -yf --undo "$tmp/undo" "$one" || [ $? = 1 ] || fail "not repaired"
	has_record "$img" || fail "the record is gone"
	qed q "$one"
	io "$dev" "write:$((8 * c)):$((4 * c)):0x44" flush
	dm_remove q
	sync
	blockdev --flushbufs "$one"
	note "the end in the record: $(blk u64 "$img" 472)"
	"$QED_FSCK" --undo-apply "$tmp/undo" "$one" || note "refused without --force"
	"$QED_FSCK" --undo-apply "$tmp/undo" --force "$one" || [ $? = 1 ]
	blockdev --flushbufs "$one"
	note "the end in the record: $(blk u64 "$img" 472), autoclear $(blk u64 "$img" 32)"
	"$QED_FSCK" -nf "$one" || true
	qed q "$one" read_only
	io "$dev" "read:$((8 * c)):$((4 * c)):0x44" || fail "lost by fsck"
	dm_remove q
	# an entry of the table is wrong again, and not in the way
	blk poke "$img" $((5 * c + 700 * 8)) 0
	sync
	need_target delay
	dm l "0 640 linear $one 0
640 8 delay $one 640 4000
648 $(($(sectors_of "$one") - 648)) linear $one 648"
	qed_at_once q "$dev" || note "not activated"
	io "$dev" "write:$((32 * mb)):$c:0x55" flush || true
	settle q
	note "q: $(blk dm status "$pre-q")"
	dm_remove q
	dm_remove l
	qed r "$one" read_only
	io "$dev" "read:$((8 * c)):$((4 * c)):0x44" || fail "what was flushed is overwritten"
}

# takeover from a device of this very host, that goes on
t_takeover_here() {
	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	if p=$(blk dm create "$pre-p" <<<"$(table "$two" takeover)"); then
		settle p
		io "$p" "write:$((2 * c)):$c:0x33" flush
		io "$q" "write:$((3 * c)):$c:0x44" flush && note "q writes still"
		note "p: $(blk dm status "$pre-p")"
		note "q: $(blk dm status "$pre-q")"
		dm_remove p
		dm_remove q
		qed r "$one" read_only
		io "$dev" "read:$((2 * c)):$c:0x33" || note "what p has flushed is lost"
		io "$dev" "read:$((3 * c)):$c:0x44" || note "what q has flushed is lost"
		fail "two writers on one host"
	fi
}

run t_void_path "another path, when somebody has cleared bit 63" \
	t_fsck_path "qed-fsck by another path" \
	t_template "a device that does not answer, and another image" \
	t_bad_resume "a header that cannot be read at a resume" \
	t_volatile "tables that were in order in a cache only" \
	t_undo "an undo file that is applied by force" \
	t_takeover_here "takeover from a device of this host"
