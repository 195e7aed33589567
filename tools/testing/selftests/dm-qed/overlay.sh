#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images over a backing file that is full, and what they should read as: for what tests images
# over others.

# shellcheck disable=SC2034	# not each of them uses all
base=					# the backing file
below=					# a loop device on it
img=					# the image over it
disk=					# a loop device on that
raw=					# a file that has what the guest's disk is to have
twin=					# a loop device on it
size=					# its size

# fill FILE BYTES SEED: with something else in each sector
fill() {
	python3 -c 'import random, sys
random.seed(int(sys.argv[3]))
open(sys.argv[1], "wb").write(random.randbytes(int(sys.argv[2])))' "$@"
}

# overlay BASE-BYTES BYTES [CLUSTER [TABLE]]: an image over a backing file that is full
overlay() {
	need qemu-img
	base=$tmp/base
	img=$tmp/image.qed
	raw=$tmp/raw
	size=$2
	fill "$base" "$1" 1
	sum=$(md5sum <"$base")
	cp "$base" "$raw"
	truncate -s "$size" "$raw"
	qemu-img create -q -f qed -b "$base" -F raw \
		-o "cluster_size=${3:-65536},table_size=${4:-4}" "$img" "$size"
	loop "$raw"
	twin=$dev
	loop "$base" ro
	below=$dev
	attach
}

# above FILE BYTES [CLUSTER [TABLE]]: an empty image over something, without a name for it that
# anybody could follow
above() {
	image "$1" "$2" "${3:-65536}" "${4:-4}" 1
	blk poke "$1" 56 $((128 | 4 << 32))
}

attach() {
	truncate -s "$((2 * size + 64 * mb))" "$img"
	loop "$img"
	disk=$dev
}

# Give the image back the way QEMU wants it
detach() {
	unloop "$disk"
	qedimg truncate "$img"
}

# over [OPTION]...: activate it; sets $dev
over() {
	qed q "$disk" backing "$below" commit_interval 3600000 "$@"
}

# same: the device has what $raw has
same() {
	io "$dev" "cmp:0:$size:$raw"
}

# both COMMAND...: to the device and to what it is compared with
both() {
	io "$dev" "$@"
	io "$twin" "$@"
}

# judge: the image has it, too, as QEMU reads it, and nothing was written below
judge() {
	dm_remove q
	sound "$disk"
	detach
	# what is free in the middle is a leak for it
	qemu-img check -f qed "$img" || [ $? = 3 ] || fail "QEMU finds errors"
	qemu-img compare -q -f qed -F raw "$img" "$raw" || fail "QEMU reads other data"
	is "$(md5sum <"$base")" "$sum" "the sum of the backing file"
}

# count: the numbers of devices below, of clusters copied, and of reads there
count() {
	[[ $(status q below) =~ ^([0-9]+)/([0-9]+)/([0-9]+)$ ]] ||
		fail "status: $(status q below)"
	depth=${BASH_REMATCH[1]}
	copied=${BASH_REMATCH[2]}
	reads_below=${BASH_REMATCH[3]}
}

# random N SEED: sets $ops to so many writes and zeroes of a part of the disk
random() {
	local i at length keep=zero queue

	# since it knows two kinds of zeroes a loop device that has refused one has none at all
	queue=/sys/class/block/$(basename "$twin")/queue
	[ ! -e "$queue/write_zeroes_unmap_max_hw_bytes" ] || keep=punch
	RANDOM=$2
	ops=()
	for ((i = 0; i < $1; i++)); do
		at=$(((RANDOM << 15 | RANDOM) % (size / 512)))
		length=$((RANDOM % 4 ? RANDOM % 32 + 1 : RANDOM % 1024 + 1))
		[ $((at + length)) -le $((size / 512)) ] || length=$((size / 512 - at))
		case $((RANDOM % 5)) in
		0) ops+=("punch:$((at * 512)):$((length * 512))") ;;
		1) ops+=("$keep:$((at * 512)):$((length * 512))") ;;
		*) ops+=("write:$((at * 512)):$((length * 512)):$((RANDOM % 255 + 1))") ;;
		esac
	done
}
