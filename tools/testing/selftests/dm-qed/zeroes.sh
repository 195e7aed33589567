#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Zeroes that are written: on images whose parts are not where they usually are, and on devices that
# do not take them.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
lower=					# the layer below the target
disk=					# what is below that

# stack [INDEX:CLUSTER]...: the L1 table in cluster 2, the L2 table in cluster 6, and these guest
# clusters mapped, to what has their index in each byte
stack() {
	local map

	truncate -s 2M "$tmp/image"
	image "$tmp/image" $((16 * c))
	blk poke "$tmp/image" 40 $((2 * c))
	blk poke "$tmp/image" $((2 * c)) $((6 * c))
	loop "$tmp/image"
	for map; do
		blk poke "$tmp/image" $((6 * c + 8 * ${map%:*})) $((${map#*:} * c))
		io "$dev" "write:$((${map#*:} * c)):$c:${map%:*}"
	done
	qed q "$dev" commit_interval 3600000
}

# t_hole COMMAND: cluster 1 of the image is next to nothing, though a hole is before it
t_hole() {
	stack 5:1 7:11
	io "$dev" "read:$((5 * c)):$c:5" "$1:$((4 * c)):$((2 * c))" "read:0:$((7 * c)):0" \
		"read:$((7 * c)):$c:7" flush
	dm_remove q
	blockdev --flushbufs "$(cat "$tmp/lib/loops")"
	sound "$tmp/image"
}

# t_runs COMMAND: all that is mapped in a range, whatever is adjacent to what
t_runs() {
	stack 1:12 2:13 3:1 5:14 6:15 8:16 10:17 11:11
	io "$dev" "$1:$((c / 2)):$((10 * c))" "read:0:$((c * 10 + c / 2)):0" \
		"read:$((c * 10 + c / 2)):$((c / 2)):10" "read:$((11 * c)):$c:11" flush
	dm_remove q
	sound "$tmp/image"
}

# over_file: an image in a file on tmpfs, with a layer that can be changed; 16 clusters with data
over_file() {
	truncate -s 4M "$tmp/image"
	image "$tmp/image" $((64 * c))
	loop "$tmp/image"
	linear l "$dev"
	lower=$dev
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$((16 * c)):0x11" flush
}

# move DEVICE: the image to one that writes no zeroes by itself, which the target knew not before
move() {
	local from

	from=$(head -n 1 "$tmp/lib/loops")
	dm_suspend l
	dd if="$from" of="$1" bs=1M oflag=direct conv=fsync status=none
	dm_load l "0 $(sectors_of "$1") linear $1 0"
	dm_resume l
}

# refusals DEVICE: how often has it said that it does not do that?
refusals() {
	kmsg | grep -c "operation not supported error, dev ${1#/dev/}," || true
}

# refused_again DEVICE: the kinds of zeroes, by their flags, that it has said so of twice
refused_again() {
	kmsg | sed -n "s|.*operation not supported error, dev ${1#/dev/},.* flags \([^ ]*\) .*|\1|p" |
		sort | uniq -d
}

is_refused() {
	[ "$(refusals "$1")" != 0 ]
}

blocks() {
	stat -c %b "$tmp/image"
}

# Of tmpfs, a loop device offers zeroes, and refuses those that keep their space.
t_refused() {
	local i some=() kept

	over_file
	disk=$(cat "$tmp/lib/loops")
	for i in {1..12}; do
		some+=("zero:$((i * c + 512)):$c")
	done
	io "$dev" "${some[@]}" "read:0:$((c + 512)):0x11" "read:$((c + 512)):$((12 * c)):0" \
		"read:$((13 * c + 512)):$((3 * c - 512)):0x11" flush
	# the two parts of the first of them
	at_most "$(refusals "$disk")" 2 "the number of zeroes that were refused"

	# those that need no space may still work
	if [ "$(cat "/sys/block/${disk#/dev/}/queue/write_zeroes_max_bytes")" != 0 ]; then
		kept=$(blocks)
		io "$dev" "punch:$((14 * c)):32768"
		is $((kept - $(blocks))) 64 "the number of blocks that this gives back"
	fi
	dm_remove q
	sound "$tmp/image"
	# nor does the new device know it
	qed q "$lower"
	io "$dev" "zero:$((15 * c)):$c" "read:$((15 * c)):$c:0" "read:$((14 * c + 32768)):32768:0x11"
}

# faithless CLUSTERS: a loop device of so many clusters, over a layer that does not write zeroes by
# itself any more after move(); sets $disk
faithless() {
	truncate -s $(($1 * c)) "$tmp/image"
	loop "$tmp/image"
	linear l "$dev"
	loop "$dev"
	disk=$dev
	# before that layer
	trap 'unloop "$disk"' EXIT
}

# The other way round: those that need no space are refused by a loop device above one that does
# not write any by itself any more. So are those that keep it, by newer kernels.
t_refused_punch() {
	local i some=()

	faithless 64
	image "$disk" $((64 * c))
	qed q "$disk" commit_interval 3600000
	lower=$dev
	io "$lower" "write:0:$((16 * c)):0x11" flush
	null a 4
	move "$dev"
	for i in {0..11}; do
		some+=("punch:$((i * c + 512)):$((c - 512))" "zero:$((i * c)):512")
	done
	io "$lower" "${some[@]}" "read:0:$((12 * c)):0" "read:$((12 * c)):$((4 * c)):0x11" flush
	is_refused "$disk"
	is "$(refused_again "$disk")" "" "what was refused twice"
	dm_remove q
	sound "$disk"
}

# Zeroes of which a part is refused while the rest waits for the first write of a cluster
t_refused_beside() {
	local guest writer zeroer

	faithless 16
	truncate -s 4M "$tmp/more"
	loop "$tmp/more"
	linear m "$dev" 4096
	dm n "0 $((16 * 128)) linear $disk 0"$'\n'"$((16 * 128)) 4096 linear $dev 0"
	lower=$dev
	image "$lower" $((64 * c))
	qed q "$lower" commit_interval 3600000
	guest=$dev
	# all that is behind the loop device
	io "$guest" "write:0:$c:0x11" "write:$((2 * c)):$((6 * c)):0x11" flush
	is "$(status q used)" 16 "the number of used clusters"
	null a 1
	move "$dev"
	# of many errors in 5 seconds the kernel tells ten only, and there may have been some
	sleep 6
	kmsg_mark
	dm_suspend m
	bg "$bin/blk" io "$guest" "write:$((c + 4096)):4096:0x22"
	writer=$!
	wait_for 20 status_is q inflight 1
	bg "$bin/blk" io "$guest" "punch:32768:$((8 * c - 32768))"
	zeroer=$!
	wait_for 20 is_refused "$disk"
	sleep 0.5
	kill -0 "$zeroer" || fail "the zeroes have not waited"
	dm_resume m
	wait "$writer"
	wait "$zeroer"
	io "$guest" "read:0:32768:0x11" "read:32768:$((8 * c - 32768)):0" flush
	dm_remove q
	sound "$lower"
	dm_remove n
}

# The device below cannot write zeroes any more: what it can is good enough.
t_limit_lost() {
	local guest first

	over_file
	guest=$dev
	null a 4
	move "$dev"
	kmsg_mark
	io "$guest" "punch:$((4 * c + 512)):$c" "zero:$((8 * c + 512)):$((3 * c))" \
		"read:0:$((4 * c + 512)):0x11" "read:$((4 * c + 512)):$c:0" \
		"read:$((5 * c + 512)):$((3 * c)):0x11" "read:$((8 * c + 512)):$((3 * c)):0" \
		"read:$((11 * c + 512)):$((5 * c - 512)):0x11" flush

	# what cannot be written fails, and nothing else
	first=$(($(blk u64 "$lower" $((5 * c))) / 512))
	null_bad a "+$((first + 16))-$((first + 23))"
	io "$guest" "!EIO/punch:4096:8192" "!EIO/zero:4096:8192" "read:0:4096:0x11" \
		"read:12288:$((2 * c)):0x11"
	null_bad a "-$((first + 16))-$((first + 23))"
	io "$guest" "punch:4096:8192" "read:4096:8192:0" flush
	dm_remove q
	sound "$lower"
}

# The other way round: a device that only discards, and is another one when that has ended. It has
# promised no zeroes. The discard has to wait below when it has begun: for the end of a read, which
# is kept back two layers down, so that the upper one is being suspended by then.
t_limit_gained() {
	local guest reader layer size=$((16 * 128))

	need_target delay
	null a 1 discard=1
	disk=$dev
	truncate -s 1M "$tmp/image"
	loop "$tmp/image"
	lower=$dev
	image "$disk" $((8 * mb))
	linear d "$disk"
	linear l "$dev"
	layer=$dev
	qed q "$layer" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$((2 * c)):0x11" flush
	dm_swap d "0 $size delay $disk 0 20000 $disk 0 0"
	bg "$bin/blk" io "$guest" "read:0:$c:0x11"
	reader=$!
	wait_for 20 under_way "$layer"
	io "$guest" "discard:$c:$c"
	commit q
	is "$(status q reclaiming)" 1 "what is not free yet"
	dd if="$disk" of="$lower" bs=64k count=16 oflag=direct conv=fsync status=none
	dm_load l "0 $size linear $lower 0"
	# ends with the read, and keeps back from now on what is new
	dm_suspend l
	wait "$reader"
	sleep 0.5
	is "$(status q reclaiming)" 1 "what is not free yet"
	dm_resume l
	at_least "$(cat "/sys/block/${layer#/dev/}/queue/write_zeroes_max_bytes")" "$c" \
		"the zeroes that are offered by now"
	wait_for 20 status_is q reclaiming 0
	is "$(status q zeroed)" 0 "the number of clusters that are known to be zero"
	io "$guest" "read:0:$c:0x11" "read:$c:$c:0"
	dm_remove q
	sound "$lower"
}

# The space for them as data is that of a thin volume that has a snapshot.
t_no_space() {
	local guest zeroer pool first

	need_target thin-pool
	over_file
	guest=$dev
	null m 8
	first=$dev
	null d 8
	pool="thin-pool $first $dev 128 0 1 error_if_no_space"
	dm pool "0 $((64 * 128)) $pool"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm t "0 8192 thin $dev 0"
	move "$dev"
	first=$dev
	dm_suspend t
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume t
	bg "$bin/blk" io "$guest" "punch:$((c + 4096)):$((2 * c - 8192))"
	zeroer=$!
	wait_for 20 status_is q mode out_of_space
	io "$guest" "read:$((4 * c)):$((12 * c)):0x11"
	kill -0 "$zeroer" || fail "the zeroes have not waited"
	dm_swap pool "0 $((100 * 128)) $pool"
	dm_suspend q noflush
	dm_resume q
	wait "$zeroer"
	io "$guest" "read:0:$((c + 4096)):0x11" "read:$((c + 4096)):$((2 * c - 8192)):0" \
		"read:$((3 * c - 4096)):$((13 * c + 4096)):0x11" flush
	wait_for 5 status_is q mode rw
	dm_remove q
	sound "$lower"
}

run "t_hole punch" "zeroes that need no space, with data in cluster 1 behind a hole" \
	"t_hole zero" "zeroes that keep their space" \
	"t_runs punch" "zeroes that need no space, over many runs" \
	"t_runs zero" "zeroes that keep their space, over many runs" \
	t_refused "a device that refuses zeroes that keep their space" \
	t_refused_punch "one that refuses those that need none" \
	t_refused_beside "zeroes that are refused in part, while others wait" \
	t_limit_lost "a device that has ceased to write zeroes" \
	t_limit_gained "a device that writes zeroes when a discard has ended" \
	t_no_space "zeroes that need space there, and have to wait for it"
