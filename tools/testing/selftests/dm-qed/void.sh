#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Those who know no record use an image: QEMU, and older versions of dm-qed.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=paths.sh
. "$(dirname "$0")/paths.sh"

# QEMU knows no record: it reads such an image, and clears the bit when it writes.
t_qemu() {
	need qemu-img qemu-io
	file
	qemu-img check -q -f qed "$img" >"$tmp/check.log" || [ $? = 3 ] ||
		fail "QEMU finds errors: $(cat "$tmp/check.log")"
	qemu-io -r -f qed -c "read -P 0x11 0 $c" "$img" >"$tmp/qemu-io.log"
	has_record "$img" || fail "QEMU has cleared bit 63 without writing"
	# it allocates at the end
	truncate -s $((10 * c)) "$img"
	qemu-io -f qed -c "write -P 0x22 $((10 * c)) $c" "$img" >"$tmp/qemu-io.log"
	truncate -s 128M "$img"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after QEMU"
	qed q "$one"
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	io "$dev" "read:0:$c:0x11" "read:$((10 * c)):$c:0x22" "write:$c:$c:0x33" flush
	dm_remove q
	sync
	is "$(blk u64 "$img" 32)" "$bit63" "the autoclear bits"
	qemu-img check -q -f qed "$img" || [ $? = 3 ] || fail "QEMU finds errors"
	sound "$img"
}

crash() {
	dm_swap l "0 $(sectors_of "$one") error"
	dm_remove q
	dm_remove l
}

# end_KIND: the device q has something at $c, and has ended in that way
end_clean() {
	layered
	dm_remove q
}

end_crash() {
	layered
	crash
}

end_takeover() {
	file
	elsewhere first
	linear l "$one"
	qed q "$dev" host second takeover
	io "$dev" "write:$c:$c:0x22" flush
	crash
}

end_growth() {
	file
	linear l "$one" $((65 * mb / 512))
	qed q "$dev"
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
	dmsetup message "$pre-q" 0 grow
	is "$(status q total)" $((128 * mb / c)) "the number of clusters"
	io "$dev" "write:$c:$c:0x22" flush
	crash
}

end_ahead() {
	layered zero_ahead 16
	commit q
	wait_for 20 not status_is q ahead 0
	dm_remove q
}

checks() {
	qemu-img check -q -f qed "$img" >"$tmp/check.log" || [ $? = 3 ] ||
		fail "QEMU finds errors: $(cat "$tmp/check.log")"
}

# QEMU opens, checks and writes what is left in each of these ways, and the record is void then.
t_end() {
	need qemu-img qemu-io
	"end_$1"
	sync
	has_record "$img" || fail "there is no record"
	checks
	qemu-io -r -f qed -c "read -P 0x11 0 $c" -c "read -P 0x22 $c $c" "$img" >"$tmp/qemu-io.log"
	! grep -q failed "$tmp/qemu-io.log" || fail "QEMU reads something else"
	has_record "$img" || fail "QEMU has cleared bit 63 without writing"
	qemu-io -f qed -c "write -P 0x33 $((10 * c)) $c" "$img" >"$tmp/qemu-io.log"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after QEMU"
	is_clean "$img"
	checks
	truncate -s 192M "$img"
	losetup -c "$two"
	kmsg_mark
	qed q "$two" known_zeroes
	! kmsg | grep -q 'taken over' || fail "the record counts: $(kmsg)"
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22" "read:$((10 * c)):$c:0x33" \
		"write:$((2 * c)):$((8 * c)):0x44" flush "read:$((10 * c)):$c:0x33"
	dm_remove q
	checks
	sound "$img"
}

# It does not clear it if it opens the image to read, and then to write: as that of a backing file,
# for a commit into it. Then the file has become longer.
t_qemu_reopen() {
	local loop

	need qemu-img qemu-io
	file
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	# its own size, as QEMU has no use for a device
	truncate -s $((10 * c)) "$img"
	qedimg record "$img" host=first end=10
	qemu-img create -q -f qed -b "$img" -F qed "$tmp/over.qed"
	qemu-io -f qed -c "write -P 0x22 $((2 * c)) $c" "$tmp/over.qed" >"$tmp/qemu-io.log"
	qemu-img commit -q "$tmp/over.qed"
	# others may clear it
	has_record "$img" || return 0
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	at_least "$(stat -c %s "$img")" $((11 * c)) "the length of the file"
	truncate -s 128M "$img"
	loop "$img"
	loop=$dev
	linear l "$loop"
	qed q "$dev"
	io "$dev" "read:$((2 * c)):$c:0x22" "write:$((8 * c)):$((4 * c)):0x33" flush \
		"read:$((2 * c)):$c:0x22"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$img"
}

# Whoever repairs an image that is active clears NEED_CHECK and bit 63. Then the record is void.
t_qemu_check() {
	need qemu-img
	file
	kmsg_mark
	qed q "$one"
	io "$dev" "write:$c:$c:0x22" flush
	is_dirty "$img"
	qemu-img check -q -r all -f qed "$img" >"$tmp/check.log" || true
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after QEMU"
	is_clean "$img"
	io "$dev" "write:$((2 * c)):$c:0x33" flush "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_suspend q
	matches "$(kmsg)" 'somebody else has cleared bit 63: the record is void' "the kernel's log"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after that"
	is_clean "$img"
	dm_resume q
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	is_active "$img" || fail "there is no active record"
	io "$dev" "read:$((2 * c)):$c:0x33" "write:$((3 * c)):$c:0x44" flush
	dm_remove q
	sound "$img"
}

# checked: what QEMU does to the header of an image that is active, in less time than an idle device
# takes to do so itself
checked() {
	is_dirty "$img"
	no_record "$img"
	blk poke "$img" 16 0
	is_clean "$img"
}

# busy COMMAND...: writes to new clusters until this succeeds. Those of before have all others in the
# first $next.
busy() {
	local end=$((next + 100))

	until "$@"; do
		[ "$next" -lt "$end" ] || fail "waited for 100 writes: $*"
		"$bin/blk" io "$q" "write:$((next++ * c)):$c:0x22" flush || true
		sleep 0.3
	done
}

# checked_busy: that happens to the device $q, which is in use
checked_busy() {
	next=2
	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	checked
}

# ... which is set again, as the image is in use, each time.
t_qemu_check_busy() {
	checked_busy
	busy is_dirty "$img"
	checked
	busy is_dirty "$img"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$img"
}

# ... also if it is not the look for that which finds it.
t_qemu_check_grown() {
	checked_busy
	truncate -s 192M "$img"
	losetup -c "$one"
	refused dmsetup message "$pre-q" 0 grow
	busy is_dirty "$img"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$img"
}

# QEMU writes some time after it has opened the image, while the guest is busy elsewhere.
t_qemu_writes_later() {
	next=2
	file
	qed q "$one"
	q=$dev
	# both blocks of the table are in memory
	io "$q" "read:$((600 * c)):$c:0" "write:$c:$c:0x22" flush
	kmsg_mark
	no_record "$img"
	busy kmsg_has 'somebody else has cleared bit 63: the record is void'
	is "$(status q mode)" rw "the mode"
	# the table is at cluster 5
	blk poke "$img" $((5 * c + 600 * 8)) $((1000 * c))
	busy status_is q mode ro
	matches "$(kmsg)" 'somebody else has changed the tables: going read-only' "the kernel's log"
}

# QEMU writes to an image that a device has which is idle: tables in memory are old by then.
t_qemu_writes() {
	need qemu-io
	file
	qed q "$one"
	q=$dev
	io "$q" "read:0:$c:0x11"
	qemu-io -f qed -c "write -P 0x22 $((2 * c)) $c" "$img" >"$tmp/qemu-io.log"
	stays_away 'somebody else has changed the tables'
	truncate -s 192M "$img"
	losetup -c "$two"
	qed p "$two"
	io "$dev" "read:0:$c:0x11" "read:$((2 * c)):$c:0x22" "read:$c:$c:0" "write:$c:$c:0x33" flush
	dm_remove p
	sound "$img"
}

# ... with tables that are not in memory. What they refer to is what the device grows by.
t_qemu_allocates() {
	need qemu-io
	file
	qed q "$one"
	q=$dev
	qemu-io -f qed -c "write -P 0x22 $((33 * mb)) $c" -c "write -P 0x22 $((2 * c)) $c" "$img" \
		>"$tmp/qemu-io.log"
	sync
	truncate -s 192M "$img"
	losetup -c "$one"
	is "$(sectors_of "$one")" $((192 * mb / 512)) "the sectors of the device"
	stays_away 'somebody else has changed the tables|defective table'
	losetup -c "$two"
	qed p "$two"
	io "$dev" "read:0:$c:0x11" "read:$((2 * c)):$c:0x22" "read:$((33 * mb)):$c:0x22"
	dm_remove p
	sound "$img"
}

# What the device grows by may be in use by whoever has cleared bit 63.
t_void_grown() {
	local total

	file
	qed q "$one"
	q=$dev
	total=$(status q total)
	no_record "$img"
	truncate -s 192M "$img"
	losetup -c "$one"
	kmsg_mark
	refused dmsetup message "$pre-q" 0 grow
	matches "$(kmsg)" 'not larger before another activation' "the kernel's log"
	is "$(status q total)" "$total" "the number of clusters"
	is "$(status q mode)" rw "the mode"
	io "$q" "write:$c:$c:0x22" flush
	refused dmsetup message "$pre-q" 0 grow
	is "$(status q total)" "$total" "the number of clusters"
	dm_remove q
	qed q "$one"
	is "$(status q total)" $((192 * mb / c)) "the number of clusters of the next one"
	dm_remove q
	sound "$img"
}

# It is not set again when NEED_CHECK is.
t_qemu_idle() {
	file
	kmsg_mark
	qed q "$one"
	io "$dev" "write:$c:$c:0x22" flush
	wait_for 20 is_clean "$img"
	no_record "$img"
	io "$dev" "write:$((2 * c)):$c:0x33" flush
	is_dirty "$img"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits"
	matches "$(kmsg)" 'somebody else has cleared bit 63: the record is void' "the kernel's log"
	dm_remove q
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits"
	sound "$img"
}

# Somebody who knows no record opens the image to write while it is being activated.
t_void_at_load() {
	local lower pid

	need_target delay
	file
	dm l "0 128 linear $one 0"$'\n'"128 $(($(sectors_of "$one") - 128)) delay $one 128 3600000 $one 128 0"
	lower=$dev
	dm q "0 $((64 * mb / 512)) error"
	q=$dev
	dm_load q "$(table "$lower")"
	io_start "$one"
	bg "$bin/blk" dm resume "$pre-q"
	pid=$!
	# the header; the L1 table is kept back
	wait_for 20 has_read "$one" 1
	# QEMU would: the bit is cleared, and the table gets a cluster behind the last one
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	no_record "$img"
	blk poke "$img" $((5 * c + 600 * 8)) $((10 * c))
	dd if=/dev/urandom of="$img" bs="$c" seek=10 count=1 conv=notrunc status=none
	sync
	kmsg_mark
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
	! wait "$pid" || fail "activated"
	matches "$(kmsg)" 'somebody else has written the header while the image was loaded' \
		"the kernel's log"
	is "$(status q mode)" fail "the mode"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits"
	dm_resume q
	io "$q" "write:$((8 * c)):$c:0x99" flush
	dm_remove q
	sync
	[ "$(blk u64 "$img" $((10 * c)))" != 11068046444225730969 ] ||
		fail "the cluster that somebody else has mapped is overwritten"
}

run t_qemu "QEMU reads images with a record, and clears bit 63 to write" \
	"t_end clean" "... left clean" \
	"t_end crash" "... after a crash" \
	"t_end takeover" "... that was taken over" \
	"t_end growth" "... whose device has grown" \
	"t_end ahead" "... with zeroes ahead" \
	t_qemu_reopen "... but not if it has opened them to read before" \
	t_qemu_check "qemu-img check -r all on an active image" \
	t_qemu_check_busy "... after which NEED_CHECK is set again" \
	t_qemu_check_grown "... whoever finds it" \
	t_qemu_writes_later "QEMU writes to an image that is in use" \
	t_qemu_writes "QEMU writes to an active image" \
	t_qemu_allocates "... which grows" \
	t_void_grown "a device that grows when bit 63 has been cleared" \
	t_qemu_idle "bit 63 is not set again if somebody else has cleared it" \
	t_void_at_load "one who knows no record, during the activation"
