#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tables that are much larger than the cache, and too little memory.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

size=$((256 * mb))			# of the guest's disk
blocks=$((size / 2 / mb))		# of tables, each maps 2 MiB
lower=

# 64 KiB of cache are an eighth of the tables. The disk has all its memory.
stack() {
	null a 192
	lower=$dev
	io "$lower" "write:0:$((192 * mb)):0"
	image "$lower" "$size" 4096 16
}

# hog MIB: memory that nobody gives back, all there is but so much
hog() {
	local available

	available=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
	mkdir "$tmp/hog"
	mount -t tmpfs -o size=100% none "$tmp/hog"
	fallocate -l $((available - $1))M "$tmp/hog/file"
	note "$(grep -E 'MemTotal|MemAvailable' /proc/meminfo | xargs)"
}

# pressure PID [LOOKS]: as long as this process runs, caches are dropped and the limit is
# kept; end it after so many looks
pressure() {
	local n=0 cached max=0

	while kill -0 "$1" 2>/dev/null; do
		echo 2 >/proc/sys/vm/drop_caches
		cached=$(status q cached)
		[ "$cached" -le "$max" ] || max=$cached
		n=$((n + 1))
		[ "$n" != "${2:-}" ] || kill -TERM "$1"
		sleep 0.2
	done
	note "at most $max KiB were cached, in $n looks"
	at_least "$n" 3 "the number of looks at the cache"
	at_most "$max" "$(status q limit)" "the size of the cache"
	at_least "$max" 4 "the size of the cache"
}

# Every 2 MiB have a pattern of their own in their first and last cluster.
patterns() {
	local i args=()

	for ((i = 0; i < blocks; i++)); do
		args+=("$1:$((i * 2 * mb)):4096:$((i + $2 & 255))"
			"$1:$((i * 2 * mb + 2 * mb - 4096)):4096:$((i + $2 + 1 & 255))")
	done
	io "$dev" "${args[@]}"
}

t_small_cache() {
	local pid range=$(($(often 64 128) * mb))

	need fallocate
	stack
	qed q "$lower" cache_kib 64
	is "$(status q limit)" 64 "the limit of the cache"
	hog 160
	bg nice -n 19 "$bin/hammer" -f "$tmp/versions" -l "$range" -t 6 -s 600 -b 16384 -F 2 -r 40 "$dev" \
		>"$tmp/hammer" 2>&1
	pid=$!
	pressure "$pid" 5
	if ! wait "$pid"; then
		cat "$tmp/hammer"
		fail "the hammer has seen errors"
	fi
	hammer -v -f "$tmp/versions" -l "$range" -t 4 -b 1048576 "$dev"
	umount "$tmp/hog"
	dm_remove q
	sound "$lower"
	qed q "$lower" cache_kib 64 read_only
	hammer -v -f "$tmp/versions" -l "$range" -t 4 -b 1048576 "$dev"
	at_most "$(status q cached)" 64 "the size of the cache"
}

t_fio() {
	local pid

	need fio fallocate
	stack
	qed q "$lower" cache_kib 64 commit_interval 50
	hog 160
	# at a rate that keeps it busy for longer than it takes to look
	(run_fio --name=verify --filename="$dev" --rw=randwrite --bs=4k --size="$size" \
		--io_size=2m --iodepth=32 --rate_iops=40 --verify=crc32c --verify_fatal=1) &
	pid=$!
	echo "$pid" >>"$tmp/lib/pids"
	pressure "$pid"
	wait "$pid"
	dm_remove q
	sound "$lower"
}

# The cache uses what it may, and gives it back when it is asked to.
t_shrinker() {
	local cached i

	stack
	qed q "$lower" cache_kib 16384
	patterns write 1
	commit q
	is "$(status q dirty)" 0 "the number of dirty blocks"
	cached=$(status q cached)
	is "$cached" $((blocks * 4)) "the size of the cache"
	# the first look of a second chance algorithm only asks who is in use
	for i in {1..20}; do
		echo 2 >/proc/sys/vm/drop_caches
		cached=$(status q cached)
		[ "$cached" -gt 64 ] || break
	done
	note "$cached KiB are left after $i rounds"
	at_most "$cached" 64 "the size of the cache after drop_caches"
	patterns read 1
	patterns write 7
	echo 2 >/proc/sys/vm/drop_caches
	patterns read 7
	dm_remove q
	qed q "$lower"
	patterns read 7
}

# What is dirty has to stay.
t_dirty_stays() {
	local i

	stack
	qed q "$lower" commit_interval 3600000
	patterns write 1
	is "$(status q dirty)" $((blocks + 1)) "the number of dirty blocks"
	for i in 1 2 3; do
		echo 2 >/proc/sys/vm/drop_caches
	done
	is "$(status q dirty)" $((blocks + 1)) "the number of dirty blocks"
	at_least "$(status q cached)" $((blocks * 4)) "the size of the cache"
	patterns read 1
	dm_remove q
	qed q "$lower"
	patterns read 1
	dm_remove q
	sound "$lower"
}

# Dirty blocks fill the cache long before the interval is over.
t_commits() {
	stack
	qed q "$lower" cache_kib 64 commit_interval 3600000
	patterns write 1
	at_least "$(status q commits)" $((blocks / 16)) "the number of commits"
	patterns read 1
	dm_remove q
	qed q "$lower"
	patterns read 1
}

# under K: put an image below that of q$((K - 1)), which is older
under() {
	local k=$1 size=$((16 + $1)) above=$disk

	null "d$k" "$size"
	disk=$dev
	linear "l$k" "$disk"
	image "$dev" $(((size - 1) * mb)) 65536 1
	qed "q$k" "$dev" commit_interval 50
	[ "$k" != 1 ] || return 0
	dm_suspend "q$((k - 1))"
	dd if="$above" of="$dev" bs=64k conv=sparse,notrunc,fsync status=none
	dm_swap "l$((k - 1))" "0 $(((size - 1) * mb / 512)) linear $dev 0"
	dm_resume "q$((k - 1))"
}

# has_commits NAME NUMBER: so many at least
has_commits() {
	[ "$(status "$1" commits)" -ge "$2" ]
}

# Each image has the next one below it, and commits when that one does what it is asked to:
# which was not there when the table of the upper one was loaded.
t_stacked() {
	local k top hammer disk=

	need fallocate
	for k in {1..8}; do
		under "$k"
		[ "$k" != 1 ] || top=$dev
		io "$top" "write:$((k * mb)):65536:$k" flush
	done
	for k in {1..8}; do
		# the hammer expects zeroes where it has not written
		io "$top" "read:$((k * mb)):65536:$k" "write:$((k * mb)):65536:0"
	done
	hog 80
	bg "$bin/hammer" -f "$tmp/versions" -l $((16 * mb)) -t 4 -s 600 -b 65536 -F 4 "$top"
	hammer=$!
	sleep 4
	for k in {1..8}; do
		wait_for 60 has_commits "q$k" 3
		is "$(status "q$k" mode)" rw "the mode of image $k"
	done
	kill -TERM "$hammer"
	wait "$hammer"
	umount "$tmp/hog"
	for k in {1..8}; do
		dm_remove "q$k"
		dm_remove "l$k"
	done
	sound "$disk"
	linear l8 "$disk"
	for k in {8..1}; do
		qed "q$k" "$dev"
	done
	hammer -v -f "$tmp/versions" -l $((16 * mb)) -t 4 -b 65536 "$dev"
}

run t_shrinker "the cache shrinks when it is asked to" \
	"counts t_dirty_stays" "dirty blocks stay" \
	t_commits "a cache full of dirty blocks is committed" \
	t_small_cache "a small cache under load and without memory" \
	t_fio "fio verifies with a small cache and without memory" \
	t_stacked "eight images, each on one that is younger, without memory"
