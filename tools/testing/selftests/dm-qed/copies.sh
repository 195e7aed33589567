#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What an image has of its backing file when a cluster is written in part, and what that costs

# shellcheck disable=SC2119	# over has options, which nobody needs here
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

# A small write is one of a cluster, and one read below, unless all of the cluster is written.
t_costs() {
	local c=65536

	overlay $((64 * c)) $((64 * c))
	over
	io "$dev" "write:0:$c:1"	# the table
	io_start "$below"
	io "$dev" "write:$c:$c:1" "write:$((4 * c)):$((3 * c)):1"
	io_end "$below"
	is "$reads" 0 "the number of reads for whole clusters"
	io_start "$below"
	io "$dev" "write:$((8 * c)):512:1"
	io_end "$below"
	is "$reads" 1 "the number of reads for the head of a cluster"
	io_start "$below"
	io_base_below=$io_base
	io_start "$disk"
	io "$dev" "write:$((16 * c + 4096)):4096:1"
	io_end "$disk"
	is "$writes $wsectors" "1 128" "the number of writes, and their sectors"
	io_base=$io_base_below
	io_end "$below"
	is "$reads" 2 "the number of reads for head and tail of a cluster"
	count
	is "$copied" 2 "the number of clusters copied"
	io_start "$below"
	io "$dev" "cmp:$((32 * c)):$c:$raw"
	io_end "$below"
	is "$reads" 1 "the number of reads for a read below"
	count
	is "$reads_below" 1 "the number of reads below, in the status"
}

# Clusters that are copied in pieces
t_large() {
	overlay $((24 * mb)) $((32 * mb)) $((4 * mb)) 2
	over
	both "write:$((3 * mb + 512)):$((mb + 512)):7" "write:$((9 * mb)):512:8" \
		"punch:$((17 * mb)):$((3 * mb))"
	same
	both "write:$((15 * mb)):$((16 * mb)):9"
	same
	judge
}

# A few sectors of a large cluster remain beside zeroes: what these hide is not read page by page.
t_pieces() {
	overlay $((8 * mb)) $((8 * mb)) $((4 * mb)) 2
	over
	io_start "$disk"
	both "punch:512:$((4 * mb - 512))"
	io_end "$disk"
	# of 1 MiB; a table, too
	at_most "$writes" 40 "the number of writes"
	same
	judge
}

# What cannot be read below fails the write, and changes nothing.
t_read_error() {
	local c=65536 q lower

	overlay $((16 * c)) $((16 * c))
	lower=$below
	linear b "$below"
	below=$dev
	over
	q=$dev
	io "$q" "write:0:$c:1" flush
	dm_swap b "0 $(sectors_of "$below") error"
	io "$q" "!EIO/read:$c:4096:0" "!EIO/write:$((c + 512)):512:7" "write:$((2 * c)):$c:8" \
		"!EIO/punch:$((3 * c + 512)):512" "punch:$((4 * c)):$c"
	dm_swap b "0 $(sectors_of "$below") linear $lower 0"
	io "$twin" "write:0:$c:1" "write:$((2 * c)):$c:8" "punch:$((4 * c)):$c"
	dev=$q
	same
	is "$(status q mode)" rw "the mode"
	# nor does anything have to be checked
	wait_for 20 status_is q needs_check -
	both "write:$((c + 512)):512:7" "punch:$((3 * c + 512)):512"
	same
	judge
}

# Without space for a copy the write waits, and goes on.
t_no_space() {
	local c=65536 q writer

	overlay $((16 * c)) $((16 * c))
	linear l "$disk" $((12 * c / 512))
	disk=$dev
	over
	q=$dev
	# the header, and two tables of 4 clusters: one is left for a copy
	both "write:0:$((2 * c)):1" "write:$((4 * c + 512)):512:6"
	bg "$bin/blk" io "$q" "write:$((5 * c + 512)):512:7"
	writer=$!
	wait_for 20 status_is q mode out_of_space
	dm_swap l "0 $((16 * c / 512)) linear $(tail -n 1 "$tmp/lib/loops") 0"
	dmsetup message "$pre-q" 0 grow
	wait "$writer"
	io "$twin" "write:$((5 * c + 512)):512:7"
	dev=$q
	same
	is "$(status q mode)" rw "the mode"
}

# Without space on the image device for a piece of what is copied, or for a cluster, the write waits,
# and goes on. t_full CLUSTER BLOCKS: with so many for a cluster
t_full() {
	local c=65536 writer q

	# shellcheck source=layer.sh
	. "$(dirname "$0")/layer.sh"
	fill "$tmp/base" $((8 * mb)) 1
	cp "$tmp/base" "$tmp/raw"
	loop "$tmp/raw"
	twin=$dev
	loop "$tmp/base" ro
	below=$dev
	full 90 400
	disk=$dev
	above "$disk" $((8 * mb)) "$1" 1
	# for the table, and a part of the cluster
	fill_pool "$disk" $((90 - $1 / c - $2)) 400
	over
	q=$dev
	bg "$bin/blk" io "$q" "write:512:512:7"
	writer=$!
	wait_for 60 status_is q mode out_of_space
	kill -0 "$writer" || fail "the write has not waited"
	more_space 128
	wait "$writer"
	is "$(status q mode)" rw "the mode"
	io "$twin" "write:512:512:7"
	io "$q" "cmp:0:$((8 * mb)):$tmp/raw"
	dm_remove q
	sound "$disk"
}

# still: the number of allocations under way has not changed within a second; sets $under_way
still() {
	under_way=$(status q inflight)
	sleep 1
	[ "$under_way" -gt 0 ] && [ "$(status q inflight)" = "$under_way" ]
}

# Many copies at once take no more than their share of the memory: the others wait, and go on.
t_memory() {
	local under_way writer share

	overlay "$mb" $((100 * mb)) "$mb" 2
	# all of it is to be copied
	truncate -s $((100 * mb)) "$tmp/sparse"
	loop "$tmp/sparse" ro
	linear b "$dev"
	below=$dev
	over
	dm_suspend b
	bg python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for i in range(100):
    os.pwrite(fd, b"7" * 4096, (i << 20) + 8192)
os.fsync(fd)' "$dev"
	writer=$!
	wait_for 60 still
	# 1/64 of the memory, and the reserve: each of them is of 1 MiB
	share=$(sed -n 's/^MemTotal: *\([0-9]*\) .*/\1/p' /proc/meminfo)
	at_least "$under_way" 4 "the number of copies at once"
	at_most "$under_way" $((share / 64 / 1024 + 2)) "the number of copies at once"
	dm_resume b
	wait "$writer"
	count
	is "$copied" 100 "the number of clusters copied"
}

run "counts t_costs" "what reads and writes cost below" \
	t_large "large clusters" \
	t_pieces "zeroes in large clusters" \
	t_read_error "what is below cannot be read" \
	t_no_space "no space for a copy" \
	"t_full 65536 0" "no space on the image device for a cluster" \
	"t_full $((2 * mb)) 20" "no space there for a piece of a large one" \
	t_memory "memory for many copies"
