#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What allocating writes and commits cost below, and what is durable after them.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536
late="commit_interval 3600000"		# only what the test asks for

# open_image zeroed|garbage [OPTION]...: an image of 64 MiB whose first cluster is mapped and
# flushed; sets $disk
open_image() {
	local known=()

	null a 128 cache_size=64
	disk=$dev
	if [ "$1" = zeroed ]; then
		known=(zeroed_from 5)
	else
		garbage "$disk" 8
	fi
	image "$disk" $((64 * mb))
	if [ "$1" = garbage ]; then
		# the L1 table has to be one
		dd if=/dev/zero of="$disk" bs="$c" seek=1 count=4 oflag=direct status=none
	fi
	qed q "$disk" "${known[@]}" "${@:2}"
	io "$dev" write:0:4096:1 flush
	is_dirty "$disk"
}

# cut_power: and activate the image again
cut_power() {
	null_off a
	blk dm wipe "$pre-q"
	dm_remove q
	null_on a
	sound "$disk"
	qed q "$disk"
}

t_zeroed_flush() {
	# shellcheck disable=SC2086
	open_image zeroed $late
	io_start "$disk"
	io "$dev" write:$((10 * c)):4096:2 flush
	io_end "$disk"
	is "$flushes" 1 "the number of flushes"
	is "$writes" 2 "the number of writes, data and table block"
	is "$wsectors" 16 "the number of sectors written"
	is "$reads" 0 "the number of reads"
}

t_first_table() {
	null a 128 cache_size=64
	image "$dev" $((8 << 30))
	disk=$dev
	# shellcheck disable=SC2086
	qed q "$disk" zeroed_from 5 $late
	io "$dev" write:0:4096:1 flush
	io_start "$disk"
	io "$dev" write:$((4 << 30)):4096:2 flush
	io_end "$disk"
	is "$flushes" 1 "the number of flushes with a new table"
	at_most "$writes" 3 "the number of writes: data, L2 block, L1 block"
}

t_ordered_flush() {
	# shellcheck disable=SC2086
	open_image garbage $late
	io_start "$disk"
	io "$dev" write:$((10 * c)):4096:2 flush
	io_end "$disk"
	# one before the table, for the data; then FUA
	at_least "$flushes" 1 "the number of flushes"
	at_most "$flushes" 2 "the number of flushes"
	at_most "$writes" 2 "the number of writes"
}

t_no_flush() {
	local i commands=()

	open_image zeroed commit_interval 50
	io_start "$disk"
	for i in {1..64}; do
		commands+=(write:$((i * c)):4096:3)
	done
	io "$dev" "${commands[@]}"
	wait_for 10 status_is q dirty 0
	wait_for 10 status_is q inflight 0
	io_end "$disk"
	is "$flushes" 0 "the number of flushes nobody asked for"
	at_least "$writes" 65 "the number of writes"
	is "$(status q mapped)" 65 "the number of mapped clusters"
}

t_clean_flush() {
	# shellcheck disable=SC2086
	open_image zeroed $late
	io_start "$disk"
	io "$dev" write:4096:4096:2 flush flush
	io_end "$disk"
	is "$flushes" 2 "the number of flushes, one for each"
	is "$writes" 1 "the number of writes in place"
}

t_one_block() {
	# shellcheck disable=SC2086
	open_image zeroed $late
	io "$dev" write:$((20 * c)):4096:2
	is "$(status q dirty)" 1 "the number of dirty blocks"
	io_start "$disk"
	commit q
	io_end "$disk"
	is "$writes" 1 "the number of table writes"
	is "$wsectors" 8 "the number of table sectors written"
	is "$(status q dirty)" 0 "the number of dirty blocks"
}

# fill CLUSTER OFFSET LENGTH SECTORS: a write into garbage that takes as many sectors, or "any"
fill() {
	local cluster=$1 from=$2 len=$3 base end last

	null a 128
	disk=$dev
	garbage "$disk" 10
	image "$disk" $((32 * mb)) "$cluster" 1
	dd if=/dev/zero of="$disk" bs="$cluster" seek=1 count=1 oflag=direct status=none
	# shellcheck disable=SC2086
	qed q "$disk" $late
	base=$((16 * mb))
	# the table of it is there
	io "$dev" write:$((base + 4 * cluster)):512:1
	end=$((from + len))
	last=$(((end + cluster - 1) / cluster * cluster))
	io_start "$disk"
	io "$dev" write:$((base + from)):"$len":0x77
	io_end "$disk"
	if [ "$4" != any ]; then
		is "$wsectors" "$4" "the number of sectors written"
		# null_blk splits at 255 sectors
		is "$writes" $((($4 + 254) / 255)) "the number of lower writes"
	fi
	[ "$from" = 0 ] || io "$dev" read:"$base":"$from":0
	io "$dev" read:$((base + from)):"$len":0x77
	[ "$last" = "$end" ] || io "$dev" read:$((base + end)):$((last - end)):0
	dm_remove q
	qed q "$disk"
	[ "$from" = 0 ] || io "$dev" read:"$base":"$from":0
	io "$dev" read:$((base + from)):"$len":0x77
	dm_remove q
	sound "$disk"
	release
}

t_fill() {
	counts fill 65536 8192 4096 128		# head and tail
	counts fill 65536 0 512 128		# tail only
	counts fill 65536 65024 512 128		# head only
	counts fill 65536 4096 131072 384	# three clusters
	counts fill 65536 0 65536 128		# nothing to fill
	counts fill 4096 512 1024 8
	counts fill "$mb" 4096 4096 2048
	counts fill $((2 * mb)) "$mb" 512 any	# not in one write
}

t_no_fill() {
	# shellcheck disable=SC2086
	open_image zeroed $late
	io_start "$disk"
	io "$dev" write:$((9 * c + 8192)):4096:2
	io_end "$disk"
	is "$writes" 1 "the number of writes"
	is "$wsectors" 8 "the number of sectors written"
	io "$dev" read:$((9 * c)):8192:0 read:$((9 * c + 12288)):8192:0
}

t_contiguous() {
	# shellcheck disable=SC2086
	open_image zeroed $late
	local direct

	io_start "$disk"
	dd if="$disk" of=/dev/null bs=1M count=1 iflag=direct status=none
	io_end "$disk"
	direct=$reads
	# late, so that what follows comes soon after it
	io "$dev" write:$((16 * mb)):"$mb":5
	io_start "$disk"
	io "$dev" read:$((16 * mb)):"$mb":5 write:$((16 * mb)):"$mb":6
	io_end "$disk"
	# as many as the queue of the disk makes of them
	is "$reads" "$direct" "the number of reads"
	is "$writes" "$direct" "the number of writes"
}

# durable KIND: what is durable after a flush, a sync write or a commit
t_durable() {
	# shellcheck disable=SC2086
	open_image "$1" $late
	io "$dev" write:$((10 * c)):4096:2 flush \
		fua:$((11 * c)):4096:3 \
		write:$((12 * c)):"$c":4 fua:$((12 * c + 512)):512:5 \
		write:$((13 * c)):512:6
	commit q
	cut_power
	io "$dev" read:0:4096:1 read:$((10 * c)):4096:2 read:$((10 * c + 4096)):8192:0 \
		read:$((11 * c)):4096:3 read:$((11 * c + 4096)):4096:0 \
		read:$((12 * c)):512:4 read:$((12 * c + 512)):512:5 read:$((12 * c + 1024)):512:4 \
		read:$((13 * c)):512:6 read:$((13 * c + 512)):512:0
}

# A write in place, to a cluster whose mapping is not committed yet, then a flush
t_in_place() {
	# shellcheck disable=SC2086
	open_image "$1" $late
	io "$dev" write:$((10 * c)):4096:2 write:$((10 * c + 4096)):4096:3 flush
	cut_power
	io "$dev" read:$((10 * c)):4096:2 read:$((10 * c + 4096)):4096:3
}

# With an interval of 0 a write is complete when its mapping is durable.
t_interval_0() {
	open_image "$1" commit_interval 0
	io "$dev" write:$((10 * c)):4096:2
	is "$(status q dirty)" 0 "the number of dirty blocks"
	cut_power
	io "$dev" read:$((10 * c)):4096:2
}

t_interval() {
	local commits

	open_image zeroed commit_interval 200
	commits=$(status q commits)
	io "$dev" write:$((10 * c)):4096:2
	wait_for 5 not status_is q commits "$commits"
	is "$(status q dirty)" 0 "the number of dirty blocks"
	is "$(status q commits)" $((commits + 1)) "the number of commits"
}

# Half of the cache full of dirty blocks makes a commit.
t_pressure() {
	local i commands=()

	null a 128
	disk=$dev
	image "$disk" $((8 << 30)) 65536 1
	# shellcheck disable=SC2086
	qed q "$disk" zeroed_from 2 cache_kib 64 $late
	for i in {1..40}; do
		commands+=(write:$((i * 64 * mb)):4096:"$i")
	done
	io "$dev" "${commands[@]}"
	at_least "$(status q commits)" 2 "the number of commits"
	at_most "$(status q dirty)" 16 "the number of dirty blocks"
	at_most "$(status q cached)" 64 "the size of the cache"
	dm_remove q
	qed q "$disk"
	commands=()
	for i in {1..40}; do
		commands+=(read:$((i * 64 * mb)):4096:"$i")
	done
	io "$dev" "${commands[@]}"
}

# NEED_CHECK is cleared before, so that there is no idle time to be over in between.
t_nothing() {
	# shellcheck disable=SC2086
	open_image zeroed $late
	wait_for 20 is_clean "$disk"
	io_start "$disk"
	commit q
	io_end "$disk"
	is "$writes" 0 "the number of writes"
	is "$flushes" 1 "the number of flushes"
}

run "counts t_zeroed_flush" "an allocating write and a flush: one flush, two writes" \
	"counts t_first_table" "with a new L2 table: one flush, three writes" \
	"counts t_ordered_flush" "on clusters that are not zero: two flushes at most" \
	"counts t_no_flush" "no flush below without one above" \
	"counts t_clean_flush" "a flush with nothing to commit passes" \
	"counts t_one_block" "only the changed table block is written" \
	t_fill "a new cluster is filled with zeroes, in one write" \
	"counts t_no_fill" "a cluster known to be zero is not filled" \
	"counts t_contiguous" "adjacent clusters are one I/O" \
	"t_durable zeroed" "flushes, sync writes and commits are durable, on zeroed clusters" \
	"t_durable garbage" "flushes, sync writes and commits are durable, on others" \
	"t_in_place zeroed" "a flush covers writes to uncommitted clusters" \
	"t_in_place garbage" "a flush covers writes to uncommitted clusters that were filled" \
	"t_interval_0 zeroed" "commit_interval 0, on zeroed clusters" \
	"t_interval_0 garbage" "commit_interval 0, on others" \
	"counts t_interval" "a commit comes after the interval" \
	t_pressure "a commit comes when the cache is half dirty" \
	t_nothing "a commit of nothing writes nothing"
