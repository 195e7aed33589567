#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many threads write to the same clusters; see hammer.c for what is checked.
# HAMMER_SECONDS in the environment says how long each race takes, 4 s by default;
# HAMMER_NOWAIT which percentage of reads and writes is tried without waiting; with
# HAMMER_TABLES=all there are all geometries, and not one for each size of a cluster.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# verified: what is written in $range is there, and the image $lower is sound
verified() {
	hammer -v -f "$tmp/state" "${range[@]}" "$dev"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
	qed q "$lower"
	hammer -v -f "$tmp/state" "${range[@]}" "$dev"
}

# pound RANGE OPTION...: on $dev of image $lower, then see that all is there and sound
pound() {
	local range=(-l "$1")

	hammer -f "$tmp/state" "${range[@]}" "${@:2}" "$dev"
	verified
}

# t_clean CLUSTER TABLE RANGE THREADS OPS [BLOCKSIZE]
t_clean() {
	null a 256 blocksize="${6:-512}"
	lower=$dev
	image "$lower" $((128 * mb)) "$1" "$2"
	qed q "$lower" zeroed_from $((1 + $2))
	pound "$3" -t "$4" -n "$5"
}

# t_recycled CLUSTER TABLE RANGE THREADS OPS: on a device full of garbage
t_recycled() {
	null a 192
	lower=$dev
	garbage "$lower" 96
	image "$lower" $((128 * mb)) "$1" "$2"
	# its L1 table
	io "$lower" "write:$1:$(($1 * $2)):0"
	qed q "$lower"
	pound "$3" -t "$4" -n "$5"
}

# packed CLUSTER TABLE UNITS SPARE WHERE [OPTION]...: a recycled device that has room for all UNITS
# clusters of the guest's disk and SPARE more, for a header, the L1 table, and one L2 table; what
# is next to something is in use. The L1 table is in front (1) or behind everything (0). All is
# mapped, in order, and zero. Sets dev, and lower.
packed() {
	local size=$1 table=$2 units=$3 total=$((1 + 2 * $2 + $3 + $4)) l1=1

	null a 64 discard=1
	lower=$dev
	garbage "$lower" 60
	linear l "$lower" $((total * size / 512))
	lower=$dev
	image "$lower" $((units * size)) "$size" "$table"
	if [ "$5" = 0 ]; then
		l1=$((total - table))
		blk poke "$lower" 40 $((l1 * size))
	fi
	io "$lower" "write:$((l1 * size)):$((table * size)):0" flush
	qed q "$lower" "${@:6}"
	io "$dev" "write:0:$((units * size)):0" flush
}

seconds=${HAMMER_SECONDS:-4}
# Of 100 reads and writes so many are tried without waiting
nowait=${HAMMER_NOWAIT:-20}

# t_border CLUSTER TABLE UNITS SPARE WHERE [OPTION]...: units that come and go, see hammer.c
t_border() {
	packed "$@"
	pound $(($1 * $3)) -P -C "$1" -t 4 -F 0 -D 0 -G 0 -s "$seconds" -N "$nowait"
}

# t_packed, the same: everything at once, and at random
t_packed() {
	packed "$@"
	pound $(($1 * $3)) -R -U 40 -C "$1" -t 6 -s "$seconds" -N "$nowait" -b 65536 -F 5
}

# t_interleaved, the same: every second cluster of the device is free, and has what was there
t_interleaved() {
	local i io=()

	packed "$@" no_discard_passdown
	for ((i = 0; i < $3; i += 2)); do
		io+=("discard:$((i * $1)):$1")
	done
	io "$dev" "${io[@]}" flush
	wait_for 20 status_is q reclaiming 0
	pound $(($1 * $3)) -R -U 40 -C "$1" -t 6 -s "$seconds" -N "$nowait" -b 65536 -F 5
}

# crowded CLUSTER TABLE UNITS SPARE WHERE: a device that has room for so many clusters on both sides
# of the border between the first two L2 tables, and otherwise as with packed(). Where tables
# are too large to be written as a whole the device is new. Sets dev, lower, range. A large table is
# never without a cluster: it would be freed, and what is free be in pieces too small for the next one.
crowded() {
	local size=$1 table=$2 l1=1 span options=()
	local kept=$(($2 < 8 ? 0 : 1))
	local total=$((1 + 3 * $2 + $3 + 2 * kept + $4))

	span=$((size * (size * table / 8)))
	null a $((total * size / mb + 1)) discard=1
	lower=$dev
	if [ $((size * table)) -le $((4 * mb)) ]; then
		garbage "$lower" $((total * size / mb + 1))
		[ "$5" = 1 ] || l1=$((total - table))
	else
		options=(zeroed_from $((1 + table)))
	fi
	linear l "$lower" $((total * size / 512))
	lower=$dev
	image "$lower" $((span + ($3 / 2 + kept) * size)) "$size" "$table"
	blk poke "$lower" 40 $((l1 * size))
	[ ${#options[@]} != 0 ] || io "$lower" "write:$((l1 * size)):$((table * size)):0" flush
	qed q "$lower" ${options[@]+"${options[@]}"}
	range=(-o $((span - $3 * size / 2)) -l $(($3 * size)))
	io "$dev" "write:$((range[1] - kept * size)):$((range[3] + 2 * kept * size)):0" flush
	wait_for 20 status_is q free "$4"
}

# t_geometry CLUSTER TABLE...: each of these, on a device that is full, or nearly
t_geometry() {
	local size=$1 table units=6 ops=20 range

	# what has to be filled is large
	[ "$size" -lt $((16 * mb)) ] || units=4 ops=5
	for table in "${@:2}"; do
		crowded "$size" "$table" "$units" $((table & 5 ? 1 : 0)) $((table & 6 ? 0 : 1))
		hammer -f "$tmp/state" "${range[@]}" -R -U 40 -C "$size" -t 4 -n "$ops" -N "$nowait" \
			"$dev"
		verified
		dm_remove q
		dm_remove l
		null_del a
		rm "$tmp/state"
	done
}

# t_grows CLUSTER TABLE FIRST LAST STEP: a full device, and the disk grows under what is written,
# across the border between two L2 tables; discards and zeroes follow it
t_grows() {
	local size=$1 at hammer range=(-o $((($3 - 8) * $1)) -l $((($4 - $3 + 8) * $1)))

	null a 64 discard=1
	lower=$dev
	garbage "$lower" 60
	linear l "$lower" $(((1 + 3 * $2 + $4 - $3 + 8) * size / 512))
	lower=$dev
	image "$lower" $(($3 * size)) "$size" "$2"
	io "$lower" "write:$size:$(($2 * size)):0" flush
	qed q "$lower" commit_interval 50
	bg "$bin/hammer" -f "$tmp/state" "${range[@]}" -g -R -U 40 -C "$size" -t 6 -G 2 -s 600 \
		-N "$nowait" -F 5 "$dev"
	hammer=$!
	for ((at = $3 + $5; at <= $4; at += $5)); do
		dmsetup message "$pre-q" 0 resize $((at * size / 512))
		dm_swap q "$(table "$lower" commit_interval 50)"
		is "$(status q mode)" rw "the mode"
		sleep 0.3
	done
	kill -TERM "$hammer"
	wait "$hammer"
	is "$(status q virtual)" "$4" "the number of clusters"
	verified
}

# t_overlaps CLUSTER TABLE [OPTION]...: what is written is unmapped at the same time, and the memory
# of the cache is wanted by others
t_overlaps() {
	local hammer

	null a 192 discard=1
	lower=$dev
	garbage "$lower" 96
	image "$lower" $((128 * mb)) "$1" "$2"
	io "$lower" "write:$1:$(($1 * $2)):0" flush
	qed q "$lower" "${@:3}"
	bg "$bin/hammer" -f "$tmp/state" -R -U 35 -C "$1" -t 6 -G 2 -s "$seconds" -N "$nowait" \
		"$dev"
	hammer=$!
	while kill -0 "$hammer" 2>/dev/null; do
		echo 2 >/proc/sys/vm/drop_caches
		dm_suspend q
		dm_resume q
		sleep 0.3
	done
	wait "$hammer"
	pound $((128 * mb)) -R -U 35 -C "$1" -t 4 -n 50
}

t_small_cache() {
	null a 256
	lower=$dev
	image "$lower" $((512 * mb)) 4096 1
	qed q "$lower" cache_kib 64 commit_interval 10
	pound $((192 * mb)) -t 8 -n 60
	qed_reload q "$lower" cache_kib 64
	hammer -v -f "$tmp/state" -l $((192 * mb)) "$dev"
	at_most "$(status q cached)" 64 "the size of the cache"
}

t_synchronous() {
	null a 256
	lower=$dev
	image "$lower" $((128 * mb)) 65536 4
	qed q "$lower" commit_interval 0
	pound $((4 * mb)) -t 8 -n 40 -D 50
}

# Commits, suspends and reloads come in between
t_disturbed() {
	local i hammer

	null a 256
	lower=$dev
	image "$lower" $((128 * mb)) 4096 2
	qed q "$lower" commit_interval 20
	bg "$bin/hammer" -f "$tmp/state" -l $((32 * mb)) -t 6 -s 60 "$dev"
	hammer=$!
	for i in 1 2 3 4; do
		commit q
		dm_suspend q
		is_clean "$lower"
		dm_resume q
		dm_suspend q noflush
		dm_resume q
		qed_reload q "$lower" cache_kib $((64 * i)) commit_interval $((i % 2 * 50))
	done
	kill -TERM "$hammer" 2>/dev/null || true
	wait "$hammer"
	pound $((32 * mb)) -t 4 -n 10
}

# succeed PID...: wait for all of them
succeed() {
	local pid

	for pid; do
		wait "$pid" || fail "a program that was started has failed"
	done
}

# Writes to 16 new clusters are all under way before the first of them has ended.
t_parallel() {
	local i writers=()

	null a 64
	linear l "$dev"
	lower=$dev
	image "$lower" $((32 * mb)) 65536 4
	qed q "$lower" zeroed_from 5
	io "$dev" write:0:4096:1
	dm_suspend l
	for i in {1..16}; do
		bg "$bin/blk" io "$dev" "write:$((i * 65536)):4096:$i"
		writers+=($!)
	done
	wait_for 60 status_is q inflight 16
	dm_resume l
	succeed "${writers[@]}"
	for i in {1..16}; do
		io "$dev" "read:$((i * 65536)):4096:$i" "read:$((i * 65536 + 4096)):61440:0"
	done
}

# all_sleep PID...: uninterruptibly, as who waits for a device does
all_sleep() {
	local pid stat

	for pid; do
		read -ra stat <"/proc/$pid/stat"
		[ "${stat[2]}" = D ] || return 1
	done
}

# What 16 threads want to have flushed while a commit waits for the device below takes one more.
t_shared_commits() {
	local i round null commands waiting

	null a 128 cache_size=64
	null=$dev
	linear l "$dev"
	lower=$dev
	image "$lower" $((64 * mb)) 65536 4
	qed q "$lower" zeroed_from 5 commit_interval 3600000
	for round in 0 1 2 3; do
		commands=()
		waiting=()
		for ((i = 0; i < 16; i++)); do
			commands+=("write:$(((16 * round + i) * 65536)):4096:1")
		done
		io "$dev" "${commands[@]}"
		io_start "$null"
		dm_suspend l
		for ((i = 0; i < 16; i++)); do
			bg "$bin/blk" io "$dev" flush
			waiting+=($!)
		done
		wait_for 60 all_sleep "${waiting[@]}"
		dm_resume l
		succeed "${waiting[@]}"
		io_end "$null"
		at_least "$flushes" 1 "the number of flushes for 16"
		at_most "$flushes" 4 "the number of flushes for 16"
	done
}

# Every size of a cluster, and of a table
geometries=()
for ((i = 0; i <= 14; i++)); do
	tables=$((1 << (14 - i) % 5))
	[ "${HAMMER_TABLES:-}" != all ] || tables="1 2 4 8 16"
	geometries+=("t_geometry $((4096 << i)) $tables"
		"a full device: clusters of $((4 << i)) KiB, tables of $tables")
done

run "t_clean 65536 4 131072 12 60" "everybody in two clusters" \
	"t_clean 65536 4 16777216 8 60" "clusters of 64 KiB" \
	"t_clean 4096 1 16777216 8 60" "clusters of 4 KiB, small tables" \
	"t_clean 1048576 2 16777216 8 30" "clusters of 1 MiB" \
	"t_clean 65536 4 16777216 8 40 4096" "logical blocks of 4 KiB" \
	"t_recycled 65536 4 262144 12 40" "everybody in four clusters of a recycled device" \
	"t_recycled 65536 4 16777216 8 40" "clusters of 64 KiB on a recycled device" \
	"t_recycled 4096 2 8388608 8 40" "clusters of 4 KiB on a recycled device" \
	"t_recycled 4194304 1 16777216 6 8" "clusters of 4 MiB on a recycled device" \
	"t_border 65536 4 6 0 1" "units that come and go on a full device" \
	"t_border 4096 1 24 1 0" "... small ones, with the L1 table behind them" \
	"t_packed 65536 4 24 2 0" "a full device, the L1 table behind everything" \
	"t_packed 4096 1 64 4 1" "... with small clusters" \
	"t_interleaved 65536 4 24 0 1" "every second cluster is free" \
	"t_interleaved 4096 2 64 0 0" "... with small clusters" \
	"t_grows 4096 1 506 530 4" "the disk grows on a full device" \
	"t_grows 16384 2 4086 4110 8" "... with larger clusters" \
	"t_overlaps 65536 4" "writes, zeroes and discards overlap" \
	"t_overlaps 4096 1 cache_kib 64 commit_interval 20" "... with a cache that is too small" \
	t_small_cache "a cache much smaller than the tables" \
	t_synchronous "mappings durable with every write" \
	t_disturbed "commits, suspends and reloads under load" \
	t_parallel "allocations go on side by side" \
	t_shared_commits "flushes share commits" \
	"${geometries[@]}"
