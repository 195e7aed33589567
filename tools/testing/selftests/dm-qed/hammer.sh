#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many threads write to the same clusters; see hammer.c for what is checked.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# pound RANGE OPTION...: on $dev of image $lower, then see that all is there and sound
pound() {
	local range=$1

	hammer -f "$tmp/state" -l "$range" "${@:2}" "$dev"
	hammer -v -f "$tmp/state" -l "$range" "$dev"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
	qed q "$lower"
	hammer -v -f "$tmp/state" -l "$range" "$dev"
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

# A device that takes 50 ms for a request, which is long beside what the processor has to do for
# one: 16 threads that allocate, each in clusters of its own, are not slower than one, by far.
t_parallel() {
	local start one many

	null a 1024 irqmode=2 completion_nsec=50000000 hw_queue_depth=64
	lower=$dev
	image "$lower" $((2048 * mb)) 65536 4
	qed q "$lower" zeroed_from 5
	io "$dev" write:0:4096:1 write:2147418112:4096:1
	start=${EPOCHREALTIME/./}
	hammer -o $((64 * mb)) -l $((448 * mb)) -b 4096 -r 0 -F 0 -D 0 -t 1 -n 20 -S 1 "$dev"
	one=$((${EPOCHREALTIME/./} - start))
	start=${EPOCHREALTIME/./}
	hammer -o $((512 * mb)) -l $((448 * mb)) -b 4096 -r 0 -F 0 -D 0 -t 16 -n 20 -S 2 "$dev"
	many=$((${EPOCHREALTIME/./} - start))
	note "1 thread $((one / 1000)) ms, 16 threads $((many / 1000)) ms"
	[ $((many)) -lt $((4 * one)) ] || fail "16 threads are less than 4 times as fast as one"
}

# 16 threads that write and flush share their commits.
t_shared_commits() {
	local commits

	null a 1024 irqmode=2 completion_nsec=5000000 hw_queue_depth=64
	lower=$dev
	image "$lower" $((1024 * mb)) 65536 4
	qed q "$lower" zeroed_from 5 commit_interval 3600000
	io "$dev" write:0:4096:1 flush
	commits=$(status q commits)
	hammer -o $((64 * mb)) -l $((512 * mb)) -b 4096 -r 0 -F 100 -D 0 -t 16 -n 20 "$dev"
	commits=$(($(status q commits) - commits))
	note "320 writes with flush: $commits commits"
	at_most "$commits" 160 "the number of commits"
}

run "t_clean 65536 4 131072 12 60" "everybody in two clusters" \
	"t_clean 65536 4 16777216 8 60" "clusters of 64 KiB" \
	"t_clean 4096 1 16777216 8 60" "clusters of 4 KiB, small tables" \
	"t_clean 1048576 2 16777216 8 30" "clusters of 1 MiB" \
	"t_clean 65536 4 16777216 8 40 4096" "logical blocks of 4 KiB" \
	"t_recycled 65536 4 262144 12 40" "everybody in four clusters of a recycled device" \
	"t_recycled 65536 4 16777216 8 40" "clusters of 64 KiB on a recycled device" \
	"t_recycled 4096 2 8388608 8 40" "clusters of 4 KiB on a recycled device" \
	"t_recycled 4194304 1 16777216 6 8" "clusters of 4 MiB on a recycled device" \
	t_small_cache "a cache much smaller than the tables" \
	t_synchronous "mappings durable with every write" \
	t_disturbed "commits, suspends and reloads under load" \
	t_parallel "allocations go on side by side" \
	t_shared_commits "flushes share commits"
