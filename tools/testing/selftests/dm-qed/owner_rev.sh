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
	at_most "$ms" 12000 "the milliseconds of an activation of another image"
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

# The same after a crash of ours, with the host or its connection to the disk: a cluster that the
# guest has zeroed, without a flush, is free in what the disk has in its cache, and not durably.
t_volatile_free() {
	local stable cache

	img=$tmp/stable.qed
	# 16 clusters: the last one is that of guest cluster 0, all others are in use
	truncate -s $((16 * c)) "$img"
	image "$img" $((64 * mb)) "$c" 4 2
	blk poke "$img" "$c" $((5 * c))
	for i in {0..6}; do
		blk poke "$img" $((5 * c + (i + 1) * 8)) $(((i + 9) * c))
	done
	blk poke "$img" $((5 * c + 8)) $((9 * c))
	dd if=/dev/zero bs="$c" count=1 status=none | tr '\0' '\21' |
		dd of="$img" bs="$c" seek=15 conv=notrunc status=none
	qedimg record "$img" host="$(uname -n)" flags=1
	# guest cluster 7 is that
	cp --sparse=always "$img" "$tmp/cache.qed"
	blk poke "$tmp/cache.qed" $((5 * c + 7 * 8)) 0
	loop "$img"
	stable=$dev
	loop "$tmp/cache.qed"
	cache=$dev
	dm l "0 640 linear $stable 0"$'\n'"640 8 linear $cache 640"$'\n'"648 $((16 * c / 512 - 648)) linear $stable 648"
	lower=$dev
	io_start "$cache"
	qed q "$lower" commit_interval 3600000
	io "$dev" "read:$((7 * c)):$c:0" "write:$((20 * c)):$c:0x22"
	note "q: $(blk dm status "$pre-q")"
	io_end "$cache"
	[ "$flushes" = 0 ] || return 0
	dm_swap l "0 $(sectors_of "$stable") error"
	dm_remove q
	dm_swap l "0 $(sectors_of "$stable") linear $stable 0"
	qed q "$lower" read_only
	io "$dev" "read:$((7 * c)):$c:0" || io "$dev" "read:$((7 * c)):$c:0x11" ||
		fail "neither the old nor the new content"
}

# ... and a mapping that is there in the cache only: a write with FUA is lost.
t_volatile_fua() {
	local stable cache

	img=$tmp/stable.qed
	truncate -s 64M "$img"
	image "$img" $((64 * mb)) "$c" 4 2
	blk poke "$img" "$c" $((5 * c))
	blk poke "$img" $((5 * c)) $((9 * c))
	qedimg record "$img" host="$(uname -n)" flags=1
	null a 64 cache_size=16
	stable=$dev
	dd if="$img" of="$stable" bs=1M conv=fsync status=none
	null b 64 cache_size=16
	cache=$dev
	blk poke "$img" $((5 * c + 7 * 8)) $((15 * c))
	dd if="$img" of="$cache" bs=1M conv=fsync status=none
	dm l "0 640 linear $stable 0"$'\n'"640 8 linear $cache 640"$'\n'"648 $((64 * mb / 512 - 648)) linear $stable 648"
	lower=$dev
	note "FUA: $(cat "/sys/class/block/$(basename "$(readlink -f "$lower")")/queue/fua")"
	io_start "$cache"
	qed q "$lower" commit_interval 3600000
	io "$dev" "fua:$((7 * c)):$c:0x22"
	io_end "$cache"
	[ "$flushes" = 0 ] || return 0
	dm_swap l "0 $(sectors_of "$stable") error"
	dm_remove q
	dm_swap l "0 $(sectors_of "$stable") linear $stable 0"
	qed q "$lower" read_only
	io "$dev" "read:$((7 * c)):$c:0x22" || fail "a write with FUA is lost"
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

# QEMU clears bit 63 when it opens an image for writing, but not when it has opened it to read, and
# opens it again to write: the base of an overlay, for qemu-img commit, or blockcommit.
t_commit() {
	need qemu-img qemu-io
	file
	unloop "$one"
	unloop "$two"
	# the device is as long as what is in use: all of it was
	truncate -s $((10 * c)) "$img"
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	qemu-img create -q -f qed -b "$img" -F qed "$tmp/over.qed"
	qemu-io -f qed -c "write -P 0x22 $((2 * c)) $c" "$tmp/over.qed" >"$tmp/qemu-io.log"
	qemu-img commit -q "$tmp/over.qed"
	note "size $(stat -c %s "$img"), autoclear $(blk u64 "$img" 32), features $(blk u64 "$img" 16)"
	qemu-io -r -f qed -c "read -P 0x22 $((2 * c)) $c" "$img" >"$tmp/qemu-io.log"
	truncate -s "${1:-128M}" "$img"
	loop "$img"
	one=$dev
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
	io "$dev" "read:$((2 * c)):$c:0x22" || fail "what QEMU has committed is overwritten"
}

# ... without anybody who makes the file longer than QEMU has
t_commit_only() {
	t_commit 704K
}

# QEMU writes to an image that a device has which is idle. That is seen before the next write of the
# header, and the device goes on with the tables that it has in memory.
t_qemu_writes() {
	need qemu-io
	file
	qed q "$one"
	q=$dev
	io "$q" "read:0:$c:0x11"
	qemu-io -f qed -c "write -P 0x22 $((2 * c)) $c" -c flush "$img" >"$tmp/qemu-io.log"
	kmsg_mark
	io "$q" "write:$((3 * c)):$c:0x33" flush || note "refused"
	note "q: $(blk dm status "$pre-q")"
	note "$(kmsg)"
	dm_remove q
	sync
	qemu-io -r -f qed -c "read -P 0x22 $((2 * c)) $c" "$img" || true
	! qemu-io -r -f qed -c "read -P 0x22 $((2 * c)) $c" "$img" | grep -q failed ||
		fail "what QEMU has written is lost"
}

# Without space for the record two paths of one host have the image, and neither is told
t_put_off() {
	local pool data meta lower other p

	need_target thin-pool
	null m 8
	meta=$dev
	null d 64
	data=$dev
	pool="thin-pool $meta $data 128 0 1 error_if_no_space"
	dm pool "0 $((10 * 128)) $pool"
	pool=$dev
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm l "0 $((64 * mb / 512)) thin $pool 0"
	lower=$dev
	image "$lower" $((32 * mb)) "$c" 4
	qed q "$lower" zeroed_from 5
	io "$dev" "write:0:$((2 * c)):0x11" flush
	dm_remove q
	# a snapshot, and no space: sector 0 cannot be written
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm s "0 $((64 * mb / 512)) thin $pool 1"
	lower=$dev
	dd if=/dev/zero of="$dev" bs="$c" seek=100 count=100 oflag=direct status=none || true
	linear other "$lower"
	other=$dev
	kmsg_mark
	qed q "$lower"
	q=$dev
	note "$(kmsg | tail -n 3)"
	if p=$(blk dm create "$pre-p" <<<"$(table "$other")"); then
		note "$(kmsg | tail -n 3)"
		note "p: $(blk dm status "$pre-p")"
		note "q: $(blk dm status "$pre-q")"
		fail "two writers on one host"
	fi
}

# What was void already when a device was paused: nobody sees that it was written to meanwhile.
t_void_kept() {
	local pool data meta

	need_target thin-pool
	null m 8
	meta=$dev
	null d 64
	data=$dev
	pool="thin-pool $meta $data 128 0 1 error_if_no_space"
	dm pool "0 $((3 * 128)) $pool"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm l "0 $((64 * mb / 512)) thin $dev 0"
	lower=$dev
	image "$lower" $((32 * mb)) "$c" 4
	qed q "$lower" commit_interval 3600000 zeroed_from 5
	q=$dev
	no_record "$lower"
	blockdev --flushbufs "$lower"
	kmsg_mark
	io "$q" "write:0:$((2 * c)):0x11"
	matches "$(kmsg)" 'bit 63: the record is void' "the kernel's log"
	dm_suspend q
	is "$(status q mode)" out_of_space "the mode"
	dm_swap pool "0 $((24 * 128)) $pool"
	# whoever writes now, QEMU say, finds no bit to clear: a table, and a cluster
	blk poke "$lower" "$c" $((5 * c))
	blk poke "$lower" $((5 * c + 40)) $((10 * c))
	blockdev --flushbufs "$lower"
	dm_resume q
	io "$q" "write:$((8 * c)):$c:0x33" flush || note "refused"
	note "q: $(blk dm status "$pre-q")"
	dm_remove q
	blockdev --flushbufs "$lower"
	is "$(blk u64 "$lower" $((5 * c + 40)))" $((10 * c)) "the entry that somebody else has made"
}

# worker NUMBER DEVICE: take the image, again and again, if it can be had; write, and tell what was
# flushed: number of the cluster and the byte
worker() {
	local end=$((SECONDS + ${RACE_SECONDS:-60})) n=0 had=0 d byte k

	while [ "$SECONDS" -lt "$end" ]; do
		d=$(blk dm create "$pre-w$1" <<<"$(table "$2")" 2>/dev/null) || continue
		had=$((had + 1))
		for _ in 1 2 3; do
			k=$((n * 2 + $1))
			byte=$((n % 200 + 1))
			n=$(((n + 1) % 500))
			if blk io "$d" "write:$((k * c)):$c:$byte" flush 2>/dev/null; then
				echo "$k $byte" >>"$tmp/lib/flushed$1"
			else
				echo "$k -" >>"$tmp/lib/flushed$1"
				echo "$1: cluster $k: not written: $(blk dm status "$pre-w$1")"
			fi
			case $((RANDOM % 4)) in
			0)
				blk dm suspend "$pre-w$1"
				blk dm resume "$pre-w$1" 2>/dev/null || {
					# somebody else has it by now
					until blk dm resume "$pre-w$1" 2>/dev/null; do :; done
				}
				;;
			esac
		done
		blk dm remove "$pre-w$1"
	done
	echo "worker $1 had the image $had times"
}

# Two paths that take the image from each other as soon as they can: nothing is lost.
t_race() {
	local first second k byte

	need_target delay
	file
	dm l "0 $(sectors_of "$one") delay $one 0 3 $one 0 7"
	first=$dev
	dm m "0 $(sectors_of "$two") delay $two 0 5 $two 0 4"
	second=$dev
	worker 0 "$first" &
	worker 1 "$second" &
	wait
	dm_remove l
	dm_remove m
	sound "$img"
	qed r "$one" read_only
	cat "$tmp"/lib/flushed[01] >"$tmp/lib/flushed"
	declare -A last=()
	while read -r k byte; do
		last[$k]=$byte
	done <"$tmp/lib/flushed"
	note "${#last[@]} clusters of $(wc -l <"$tmp/lib/flushed") writes"
	for k in "${!last[@]}"; do
		[ "${last[$k]}" = - ] || io "$dev" "read:$((k * c)):$c:$(printf %#x "${last[$k]}")" ||
			fail "cluster $k is lost"
	done
}

# Who has lost the image, and allocates all the time, never looks.
t_busy() {
	local i

	file
	qed q "$one" host first
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	qed p "$two" host second takeover
	for i in {1..15}; do
		io "$q" "write:$(((i + 10) * c)):$c:0x44" flush || break
		sleep 1
	done
	note "q: $(blk dm status "$pre-q")"
	is "$(status q mode)" ro "the mode of who has lost it, after $i seconds"
}

# A device that becomes larger while the image is in use, and a crash: its tables are in order.
t_grown_crash() {
	local start ms half=${1:-131072}

	need_target delay
	file
	dm l "0 $half linear $one 0"
	lower=$dev
	qed q "$lower"
	io "$dev" "write:$c:$c:0x22" flush
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
	io "$dev" "write:$((2 * c)):$c:0x33" flush
	note "q: $(blk dm status "$pre-q")"
	dm_swap l "0 $(sectors_of "$one") error"
	dm_remove q
	dm_swap l "0 640 linear $one 0
640 8 delay $one 640 4000
648 $(($(sectors_of "$one") - 648)) linear $one 648"
	is_dirty "$img"
	start=${EPOCHREALTIME/./}
	qed_at_once q "$lower"
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	settle q
	at_most "$ms" 2500 "the milliseconds until the image was ready"
}

run t_void_path "another path, when somebody has cleared bit 63" \
	t_fsck_path "qed-fsck by another path" \
	t_template "a device that does not answer, and another image" \
	t_bad_resume "a header that cannot be read at a resume" \
	t_volatile "tables that were in order in a cache only" \
	t_volatile_free "a cluster that is free in a cache only" \
	t_volatile_fua "a mapping that is in a cache only" \
	t_undo "an undo file that is applied by force" \
	t_commit "qemu-img commit" \
	t_commit_only "... and nothing else" \
	t_qemu_writes "QEMU writes to an image in use" \
	t_put_off "two paths without space for the record" \
	t_void_kept "what was void before the suspend" \
	t_race "two paths that take the image from each other" \
	"t_grown_crash 262144" "a crash of one whose device has not grown" \
	t_grown_crash "a crash of an image whose device has grown" \
	t_busy "who has lost the image, and writes all the time" \
	t_takeover_here "takeover from a device of this host"
