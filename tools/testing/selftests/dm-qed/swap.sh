#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Swap on an image: memory is short, and to get any the kernel has to write to clusters
# that are not allocated yet. SWAP_SECONDS=300 makes it a long test.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

duration=${SWAP_SECONDS:-8}
swap_on=
left=192				# MiB that are not locked, by the kernel's estimate
swap=256				# MiB of swap space
most=15000				# pages that are to be swapped out: a quarter of it

# end_swap DEVICE: lib.sh cannot remove a device that is used for swap
end_swap() {
	[ -z "$swap_on" ] || swapoff "$swap_on"
}

# writes_to DEVICE: has somebody written to it?
writes_to() {
	local s

	read -ra s <"/sys/class/block/${1#/dev/}/stat"
	[ "${s[4]}" -gt 0 ]
}

# t_swap CLUSTER TABLE [OPTION]...: swap in the first half, more I/O in the second
t_swap() {
	local lower available hammer out

	null a $((2 * swap))
	lower=$dev
	# so that it needs no memory later, and new clusters have to be filled
	garbage "$lower" $((2 * swap))
	image "$lower" $((2 * swap * mb - 64 * mb)) "$1" "$2"
	io "$lower" "write:$1:$(($1 * $2)):0"
	qed q "$lower" "${@:3}"
	out=$dev
	dm s "0 $((swap * mb / 512)) linear $out 0"
	swap_on=$dev
	trap end_swap EXIT
	dm h "0 $((swap * mb / 1024)) linear $out $((swap * mb / 512))"
	mkswap "$swap_on" >/dev/null
	swapon "$swap_on"

	available=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
	note "$(grep -E 'MemTotal|MemAvailable' /proc/meminfo | xargs)"
	io_start "$swap_on"
	bg nice -n 19 "$bin/hammer" -f "$tmp/state" -t 4 -s 3600 "$dev"
	hammer=$!
	# with one processor it may have none any more, and be ended before it can tell
	wait_for 60 writes_to "$dev"
	"$bin/swapper" $((available - left)) "$most" "$duration" 4
	kill -TERM "$hammer"
	wait "$hammer"
	io_end "$swap_on"
	at_least "$((wsectors / 8))" "$most" "the number of pages that were swapped out"
	hammer -v -f "$tmp/state" "$dev"
	swapoff "$swap_on"
	swap_on=
	is "$(status q mode)" rw "the mode"
	dm_remove s
	dm_remove h
	dm_remove q
	sound "$lower"
	is_clean "$lower"
}

if [ ! -e /proc/swaps ]; then
	echo "1..0 # SKIP no swap"
	exit $ksft_skip
fi
run \
	"t_swap 65536 4" "clusters of 64 KiB" \
	"t_swap 4096 1 cache_kib 64 commit_interval 50" "clusters of 4 KiB, a small cache"
