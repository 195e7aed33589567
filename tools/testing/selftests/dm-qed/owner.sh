#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Who has an image. Two loop devices over one file stand for two hosts, or for two paths to a disk.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=paths.sh
. "$(dirname "$0")/paths.sh"

# Another path to an image that is in use
t_paths() {
	file
	qed q "$one"
	q=$dev
	sync
	refuses "$two" 'in use on this host, .*, by another path: owner [0-9a-f]{32}'
	refuses "$two" 'in use on this host' host another
	qed p "$two" read_only
	io "$dev" "read:0:$c:0x11"
	dm_remove p
	io "$q" "write:$c:$c:0x22" flush
	wait_for 20 is_clean "$img"
	refuses "$two" 'in use on this host'
	dm_remove q
	qed p "$two"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_remove p
	sound "$img"
}

# ... also when somebody has cleared bit 63: what is left of the record is that of a device here
t_void_path() {
	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	wait_for 20 is_clean "$img"
	no_record "$img"
	sync
	refuses "$two" 'in use on this host, by another path, though bit 63 is clear: owner [0-9a-f]{32}'
	io "$q" "write:$((2 * c)):$c:0x33" flush
	wait_for 20 is_clean "$img"
	sync
	refuses "$two" 'in use on this host, by another path'
	dm_remove q
	qed p "$two"
	io "$dev" "read:$c:$c:0x22" "read:$((2 * c)):$c:0x33" "write:$c:$c:0x44" flush
	dm_remove p
	sound "$img"
}

# ... and whatever the administrator says: the device here goes on.
t_takeover_here() {
	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	wait_for 20 is_clean "$img"
	sync
	refuses "$two" 'in use on this host, .*, by another path: owner' takeover
	io "$q" "write:$((2 * c)):$c:0x33" flush "read:$c:$c:0x22"
	dm_remove q
	sound "$img"
}

# A copy of an image that is in use here looks the same. qed-fsck makes it another one.
t_copy() {
	local copy

	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	sync
	cp --sparse=always "$img" "$tmp/copy.qed"
	loop "$tmp/copy.qed"
	copy=$dev
	qed_refused p "$copy" takeover
	matches "$error" 'in use on this host, .*, by another path: owner' "the kernel's log"
	"$QED_FSCK" -p --takeover "$copy" || [ $? = 1 ] || fail "not repaired"
	qed_refused p "$copy"
	qed p "$copy" takeover
	io "$dev" "read:$c:$c:0x22" "write:$c:$c:0x33" flush
	io "$q" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x44" flush
	dm_remove p
	dm_remove q
	sound "$img"
	sound "$tmp/copy.qed"
	# one that was in use, and is clean
	elsewhere gone
	"$QED_FSCK" -p --takeover "$one" || [ $? = 1 ] || fail "not repaired"
	sync
	! has_record "$img" || fail "there is a record"
	is_clean "$img"
}

# qed-fsck by another path: two loop devices over the file
t_fsck_path() {
	local path rc

	file
	qed q "$one" commit_interval 3600000
	q=$dev
	io "$q" "write:$c:$((4 * c)):0x22"
	sync
	for path in "$img" "$two"; do
		rc=0
		"$QED_FSCK" -p --discard "$path" >"$tmp/fsck.log" 2>&1 || rc=$?
		is "$rc" 8 "the status of qed-fsck for $path"
		matches "$(cat "$tmp/fsck.log")" 'attached to /dev/loop[0-9]+' "what it says"
	done
	io "$q" flush "read:$c:$((4 * c)):0x22"
	dm_remove q
	"$QED_FSCK" -pf "$two" || fail "not checked"
	sound "$img"
}

# A host that has gone without a word: its disk does not answer any more.
t_gone() {
	layered host first
	dm_swap l "0 $(sectors_of "$one") error"
	dm_remove q
	dm_remove l
	is_active "$img" || fail "the record is not active"
	refuses "$two" 'in use by host first, owner [0-9a-f]{32}: see takeover' host second
	refuses "$two" 'in use by host first'
	# the same host, after a crash
	kmsg_mark
	qed q "$two" host first
	matches "$(kmsg)" 'taken over: left active by host first, owner [0-9a-f]{32}' "the kernel's log"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_remove q

	qedimg record "$img" host=first flags=1
	kmsg_mark
	qed q "$two" host second takeover
	matches "$(kmsg)" 'taken over from host first, owner [0-9a-f]{32}, on demand' "the kernel's log"
	io "$dev" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x33" flush
	dm_remove q
	# once is not for ever
	qedimg record "$img" host=first flags=1
	refuses "$two" 'in use by host first' host second
	sound "$img"
}

# A former owner: suspended, it has given the image up, and cannot have it again at once.
t_former() {
	file
	qed q "$one"
	q=$dev
	dm_suspend q
	qed p "$two"
	io "$dev" "write:$c:$c:0x22" flush
	kmsg_mark
	unchanged refused dm_resume q
	matches "$(kmsg)" 'in use on this host' "the kernel's log"
	is "$(status q mode)" fail "the mode of the former owner"
	dm_remove p
	dm_resume q
	io "$q" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x33" flush
	dm_remove q
	sound "$img"
}

# failed HOST: a table of it has failed; the disk is whole again
failed() {
	layered host "$1"
	fail_writes l "$one" 0 8
	io "$q" "write:$((2 * c)):$c:0x33"
	dm_suspend q
	is "$(status q mode)" ro "the mode"
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
}

# Another table of the same device takes over from the one that has failed.
t_reload() {
	failed first
	dm_load q "$(table "$lower" host first)"
	dm_resume q
	is "$(status q mode)" rw "the mode"
	io "$q" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x44" "!EIO/flush"
	dm_remove q
	sound "$img"
}

# ... also one that calls the host by another name: it is this host.
t_renamed() {
	failed none
	dm_load q "$(table "$lower" host named)"
	dm_resume q || fail "refused: $(kmsg | tail -n 3)"
	is "$(status q mode)" rw "the mode"
}

# An activation that is refused leaves the image as it was.
t_length() {
	local before

	file
	qed q "$one"
	dm_suspend q
	dm_load q "$(table "$one")"
	blk poke "$img" 48 $((32 * mb))
	sync
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	before=$(sector)
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'table length .* exceeds the image size' "the kernel's log"
	! is_active "$img" || fail "the record is active"
	[ "$(sector)" = "$before" ] || fail "sector 0 has been written"
}

# Two paths to an image, at the same time: the write of the record by one of them ends when the other
# one has read header and L1 table. With another look at the header that is three reads, of both.
t_both() {
	local pid lower p line

	need_target delay
	file
	dm l "0 $(sectors_of "$two") delay $two 0 0 $two 0 3600000"
	lower=$dev
	dm p "0 $((64 * mb / 512)) error"
	p=$dev
	dm_load p "$(table "$lower")"
	io_start "$two"
	bg "$bin/blk" dm resume "$pre-p"
	pid=$!
	wait_for 20 has_read "$two" 3
	! is_active "$img" || fail "the record is active already"
	line=$(table "$one")
	io_start "$one"
	(
		wait_for 60 has_read "$one" 3
		# who does not wait has the image by then
		sleep 2
		dm_swap l "0 $(sectors_of "$two") linear $two 0"
	) &
	echo $! >>"$tmp/lib/pids"
	refuse q "$line"
	matches "$error" 'somebody else has written the header while the image was loaded' \
		"the kernel's log"
	wait $! || fail "the write has not been let go"
	wait "$pid" || fail "nobody has the image"
	io "$p" "write:$c:$c:0x22" flush "read:0:$c:0x11"
	dm_remove p
	sound "$img"
}

# Another image with the same header, on a disk that does not answer: that is not waited for.
t_template() {
	local pid other

	need_target delay
	file
	cp --sparse=always "$img" "$tmp/other.qed"
	loop "$tmp/other.qed"
	other=$dev
	dm l "0 $(sectors_of "$one") delay $one 0 0 $one 0 60000"
	lower=$dev
	dm q "0 $((64 * mb / 512)) error"
	dm_load q "$(table "$lower")"
	io_start "$one"
	bg "$bin/blk" dm resume "$pre-q"
	pid=$!
	wait_for 20 has_read "$one" 3
	kmsg_mark
	qed p "$other"
	kill -0 "$pid" || fail "the other one is active already"
	matches "$(kmsg)" 'not waiting for a device that takes an image with the same header' \
		"the kernel's log"
	dm_remove p
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
	wait "$pid" || fail "the other one has failed"
}

# What takeover and zeroed_from promise is about the moment: not about another attempt.
t_promised_once() {
	file
	qed q "$one" host first
	dm p "0 $((64 * mb / 512)) error"
	dm_load p "$(table "$two" host second takeover zeroed_from 100)"
	blk poke "$img" 48 $((32 * mb))
	sync
	refused dm_resume p
	blk poke "$img" 48 $((64 * mb))
	sync
	dm_remove q
	qedimg record "$img" host=first flags=1
	kmsg_mark
	refused dm_resume p
	matches "$(kmsg)" 'in use by host first, owner [0-9a-f]{32}: see takeover' "the kernel's log"
	no_record "$img"
	dm_resume p
	is "$(status p zeroed)" 0 "the clusters known to be zero"
}

run t_paths "an image in use, by another path" \
	t_void_path "... when bit 63 has been cleared" \
	t_takeover_here "... with takeover" \
	t_copy "a copy of an image in use" \
	t_fsck_path "qed-fsck, by another path" \
	t_both "two paths at the same time" \
	t_template "a disk that does not answer, and another image" \
	t_gone "a host that has crashed" \
	t_former "a former owner that is resumed" \
	"counts t_reload" "a table that has failed, and the next one" \
	"counts t_renamed" "... by another name of the host" \
	t_length "an activation that is refused" \
	t_promised_once "promises are about one attempt"
