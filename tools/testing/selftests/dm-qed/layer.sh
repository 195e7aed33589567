#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Layers between the target and its disk that are made to fail, or have no space: for
# failure.sh and lost.sh.

# shellcheck disable=SC2034	# not each of them uses all
c=65536					# a cluster
lower=					# the layer below the target
disk=					# what is below that
pool=					# the table of a pool, but for its size
loop=					# between the target and the layer, or between that and the disk

# stack MIB GUEST_BYTES [CLUSTER TABLE]: an image with a layer to be made to fail
stack() {
	null a "$1"
	disk=$dev
	image "$disk" "$2" "${@:3}"
	linear l "$disk"
	lower=$dev
}

# still_fails NAME: everything that writes; and what is 0x11 at 0 can be read
still_fails() {
	io "$dev" "read:0:$c:0x11" "!EIO/write:0:$c:0x99" "!EIO/write:$((40 * c)):$c:0x99" \
		"!EIO/flush" "!EIO/fua:0:4096:0x99" "read:0:$c:0x11" "read:$((40 * c)):$c:0"
	is "$(status "$1" mode)" ro "the mode"
}

# full BLOCKS CLUSTERS: a thin device t of so many clusters, of which as many as the pool has blocks
# for can be written; sets $dev, and $pool, the table of the pool but for its size
full() {
	local meta

	need_target thin-pool
	null p 8
	meta=$dev
	null d 8
	pool="thin-pool $meta $dev 128 0 1 error_if_no_space"
	dm pool "0 $(($1 * 128)) $pool"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm t "0 $(($2 * 128)) thin $dev 0"
}

# fill_pool DEVICE BLOCKS CLUSTERS: all of the pool is in use, for the end of this device
fill_pool() {
	local used end=$3 some

	while :; do
		used=$(dmsetup status "$pre-pool" | cut -d ' ' -f 6)
		used=${used%/*}
		[ "$used" -lt "$2" ] || break
		some=()
		for ((; used < $2; used++)); do
			some+=("write:$((--end * c)):$c:0")
		done
		# the image may have taken some meanwhile
		io "$1" "${some[@]}" || true
	done
}

# more_space BLOCKS: in that pool, and the target q looks for it
more_space() {
	dm_swap pool "0 $(($1 * 128)) $pool"
	# with a flush: device mapper itself would begin anew
	dm_suspend q
	dm_resume q
}

# off_loop NAME...: whatever has happened, these are above it
off_loop() {
	local name

	for name; do
		dm_remove "$name" || true
	done 2>"$tmp/lib/remove.err"
	unloop "$loop"
}

# message REGEX: for wait_for
message() {
	[[ $(kmsg) =~ $1 ]]
}
