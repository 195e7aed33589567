#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Metadata that could not be written when the device was suspended, and is kept: the image
# device belongs to the table that is resumed next.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
delay=10000				# ms that slow writes and discards take
disk=					# what is below all layers
slow=					# a layer, slow from cluster 20 on
fast=					# another one over the same
tables=640-647				# the sectors of the L2 block

# stack: 25 clusters, header and tables are the first 9, and 16 for the guest
stack() {
	local size=$((25 * 128)) first=$((20 * 128)) d

	need_target delay
	null a 2 discard=1
	disk=$dev
	image "$disk" $((8 * mb))
	linear fast "$disk" "$size"
	fast=$dev
	linear slow "$disk" "$size"
	slow=$dev
	qed q "$slow" commit_interval 3600000
	io "$dev" "write:0:$((16 * c)):0x11" flush
	is "$(status q used)" 25 "the space in use"
	d="$disk $first"
	dm_swap slow "0 $first linear $disk 0"$'\n'"$first $((size - first)) delay $d 0 $d $delay $d 0"
}

# fail_close: the guest has freed its last cluster, whose discard takes long; then another change
# cannot be committed, neither at once nor when the device is suspended
fail_close() {
	io "$dev" "discard:$((15 * c)):$c"
	commit q
	wait_for 20 status_is q reclaiming 1
	null_bad a "+$tables"
	io "$dev" "discard:$c:$c" "!EIO/flush"
	dm_suspend q
	is "$(status q mode)" ro "the mode"
	null_bad a "-$tables"
}

# The next table gives the cluster to the guest again: it is not to be discarded any more.
t_discards() {
	local end guest

	stack
	end=$((${EPOCHREALTIME/./} + 2 * delay * 1000))
	guest=$dev
	fail_close
	dm_load q "$(table "$fast")"
	bg "$bin/blk" io "$guest" "write:$((30 * c)):$c:0x55" flush "read:$((30 * c)):$c:0x55"
	dm_resume q
	wait $!
	is "$(status q used)" 25 "the space in use"
	while [ "${EPOCHREALTIME/./}" -lt "$end" ]; do sleep 0.2; done
	io "$guest" "read:$((30 * c)):$c:0x55" "read:0:$((15 * c)):0x11" "read:$((15 * c)):$c:0"
	dm_remove q
	sound "$disk"
}

# Resumed with what it has kept, it reads, and does nothing else.
t_resumed() {
	local message

	stack
	fail_close
	for message in commit trim check "resize 32768"; do
		refused dmsetup message "$pre-q" 0 "$message"
	done
	dm_resume q
	is "$(status q mode)" ro "the mode"
	for message in commit trim check "resize 32768"; do
		refused dmsetup message "$pre-q" 0 "$message"
	done
	io_start "$disk"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0" "!EIO/write:0:$c:0x99" "!EIO/flush" \
		"!EIO/discard:0:$c"
	sleep 1
	io_end "$disk"
	is "$writes $flushes" "0 0" "writes and flushes"
	dm_remove q
	is_dirty "$disk"
	qed q "$fast"
	io "$dev" "read:0:$((15 * c)):0x11"
}

run t_discards "a discard of the old table does not hit the new one" \
	t_resumed "a resume of what was kept"
