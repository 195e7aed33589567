#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many images over the same one, as machines that are made from one golden image have them: the
# tables of what is below are read and kept once. What each costs is in idle.sh.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

n=20
size=$((16 * mb))
small=4096				# a cluster of the golden image
blocks=$((size / small / 512))		# of its L2 tables, 4096 bytes each
reads_each=60				# of those who read at random
disks=()				# of the images over it
clones=()				# their devices

# golden: an image that is full of something else in each sector, read-only; and $n over it
golden() {
	local i

	need qemu-img
	raw=$tmp/raw
	fill "$raw" "$size" 1
	base=$tmp/golden.qed
	qemu-img convert -f raw -O qed -o "cluster_size=$small" "$raw" "$base"
	sum=$(md5sum <"$base")
	loop "$base" ro
	below=$dev
	disks=()
	for ((i = 0; i < n; i++)); do
		truncate -s $((size + 16 * mb)) "$tmp/clone$i.qed"
		above "$tmp/clone$i.qed" "$size" 16384
		loop "$tmp/clone$i.qed"
		disks+=("$dev")
	done
}

# up NUMBER: activate one of them
up() {
	qed "$1" "${disks[$1]}" layer "$below"
	clones[$1]=$dev
}

up_all() {
	local i

	for ((i = 0; i < n; i++)); do
		up "$i"
	done
}

# All read all of the tables below: it is as if one had done so, and none has a block of its own.
t_cache() {
	local i j reads=0 reading=()

	golden
	up_all
	io_start "$below"
	for ((j = 0; j < blocks; j++)); do
		reading+=("cmp:$((j * 512 * small)):4096:$raw")
	done
	for ((i = 0; i < n; i++)); do
		io "${clones[i]}" "${reading[@]}"
	done
	io_end "$below"
	is "$reads" $((n * blocks + blocks)) "the number of reads below"
	for ((i = 0; i < n; i++)); do
		is "$(status "$i" cached)" 0 "the size of the cache of a clone"
	done
}

# reader NUMBER: sets $reading to reads at random places
reader() {
	local i

	RANDOM=$1
	reading=()
	for ((i = 0; i < reads_each; i++)); do
		reading+=("cmp:$(((RANDOM << 15 | RANDOM) % (size / 4096) * 4096)):4096:$raw")
	done
}

# storm FIRST: those from there on are read at random places, all at once
storm() {
	local i reading

	pids=()
	for ((i = $1; i < n; i++)); do
		reader "$i"
		bg "$bin/blk" io "${clones[i]}" "${reading[@]}"
		pids+=($!)
	done
}

calm() {
	local pid

	for pid in "${pids[@]}"; do
		wait "$pid" || fail "a reader has failed"
	done
}

# Readers that find no table, all of them at once: each block is read once, or nearly so
t_storm() {
	local pids reads=0

	golden
	up_all
	io_start "$below"
	storm 0
	calm
	io_end "$below"
	# a read that goes on from another one may be one with it
	at_most "$reads" $((n * reads_each + blocks)) "the number of reads below"
	at_least "$reads" $((n * reads_each * 9 / 10)) "the number of reads below"
}

# Others come and go, and what they leave or find below is right; and so they write
t_come_and_go() {
	local i round pids

	golden
	up_all
	for round in 1 2 3; do
		storm 4
		for i in 0 1 2 3; do
			dm_remove "$i"
			up "$i"
			io "${clones[i]}" "cmp:$((round * mb)):65536:$raw" \
				"write:$((round * 65536 + 512)):512:$((i + 1))" \
				"cmp:$((round * 65536 + 1024)):1024:$raw"
		done
		calm
	done
	for i in 0 1 2 3; do
		for round in 1 2 3; do
			io "${clones[i]}" "read:$((round * 65536 + 512)):512:$((i + 1))"
		done
		dm_remove "$i"
		sound "${disks[i]}"
	done
	is "$(md5sum <"$base")" "$sum" "the sum of the golden image"
}

run t_cache "tables below are read and kept once" \
	t_storm "many readers at once" \
	t_come_and_go "images that come and go beside others"
