#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images whose size is no multiple of the cluster.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536

# t_size BYTES: the last sectors of the image, on a recycled device
t_size() {
	local size=$1 tail=$(($1 % c ? $1 % c : c)) disk where last table

	last=$((size - tail))
	null a 64
	disk=$dev
	garbage "$disk" 8
	image "$disk" "$size"
	io "$disk" "write:$c:$((4 * c)):0"
	qed q "$disk"
	is "$(sectors_of "$dev")" $((size / 512)) "the size of the device"
	is "$(status q virtual)" $(((size + c - 1) / c)) "the number of clusters"

	io "$dev" "read:0:$size:0" "write:$((size - 512)):512:7" \
		"read:$last:$((tail - 512 ? tail - 512 : 512)):$((tail - 512 ? 0 : 7))" \
		"read:$((size - 512)):512:7"
	if dd if="$dev" of=/dev/null bs=512 skip=$((size / 512)) count=1 status=none \
		iflag=direct,fullblock 2>/dev/null; then
		[ "$(dd if="$dev" bs=512 skip=$((size / 512)) count=1 status=none | wc -c)" = 0 ] ||
			fail "there is something behind the end"
	fi
	refused dd if=/dev/zero of="$dev" bs=512 seek=$((size / 512)) count=1 oflag=direct
	dm_remove q

	qed q "$disk"
	io "$dev" "read:$((size - 512)):512:7" "write:$last:$tail:9" "read:$last:$tail:9"
	is "$(status q mapped)" 1 "the number of mapped clusters"
	dm_remove q
	sound "$disk"

	# what is behind the image in its last cluster would come to light when the image grows
	[ "$tail" != "$c" ] || return 0
	where=$((last / c / 32768))
	table=$(blk u64 "$disk" $((c + 8 * where)))
	dm table "0 512 linear $disk $((table / 512))"
	where=$(blk u64 "$dev" $((last / c % 32768 * 8)))
	io "$disk" "read:$((where + tail)):$((c - tail)):0"
}

t_shorter_table() {
	null a 64
	image "$dev" $((mb + 512))
	dm q "0 1001 qed $dev"
	is "$(sectors_of "$dev")" 1001 "the size of the device"
	io "$dev" "write:$((1000 * 512)):512:3" "read:$((1000 * 512)):512:3"
}

t_large_blocks() {
	null a 64 blocksize=4096
	image "$dev" $((mb + 512))
	# a part of a logical block cannot be had
	dm q "0 2048 qed $dev"
	io "$dev" "write:$((mb - 4096)):4096:3" "read:0:$((mb - 4096)):0" \
		"read:$((mb - 4096)):4096:3"
}

# The largest image of all, and those where 64 bits are exceeded by the geometry
t_huge() {
	local cluster table size

	for size in "65536 4 70368744177664" "4096 1 1073741824" "67108864 16 9223372036854775296"; do
		read -r cluster table size <<<"$size"
		null a $((16 << 10))
		image "$dev" "$size" "$cluster" "$table"
		qed q "$dev" zeroed_from $((1 + table))
		is "$(sectors_of "$dev")" $((size / 512)) "the size of the device"
		io "$dev" "write:$((size - 4096)):4096:5" "read:$((size - 4096)):4096:5" \
			"read:0:$mb:0" write:8192:512:6 read:8192:512:6 flush
		dm_remove q
		null_off a
		rmdir "/sys/kernel/config/nullb/${pre}a"
	done
}

run "t_size 512" "one sector" \
	"t_size $((3 * c))" "three clusters" \
	"t_size $((3 * c + 512))" "three clusters and a sector" \
	"t_size $((3 * c - 512))" "three clusters less a sector" \
	"t_size $((2 * 1024 * mb + 12288))" "an L2 table and 12 KiB" \
	t_shorter_table "a table shorter than the image" \
	t_large_blocks "logical blocks of 4 KiB" \
	t_huge "the largest images"
