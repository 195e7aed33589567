#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a device costs that nobody uses.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

many=32
layers=()

# taken: KiB of memory that cannot be given back
taken() {
	sync
	# what was freed by RCU, and slabs that are empty, come with the second one
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	echo 3 >/proc/sys/vm/drop_caches
	# pages that a processor has put aside are free, too
	awk '$1 ~ /^(MemFree|Cached|Buffers|SReclaimable):$/ { sum += $2 }
	     $1 == "MemTotal:" { all = $2 }
	     $1 == "count:" { pages += $2 }
	     END { print all - sum - pages * '"$(($(getconf PAGESIZE) / 1024))"' }' \
		/proc/meminfo /proc/zoneinfo
}

# idle linear|qed|clone: sets $each to the KiB that one of many such devices takes
idle() {
	local i before

	before=$(taken)
	for ((i = 0; i < many; i++)); do
		case $1 in
		linear) dm "q$i" "0 $((6 * mb / 512)) linear ${layers[i]} 0" ;;
		qed) qed "q$i" "${layers[i]}" ;;
		clone) qed "q$i" "${layers[i]}" layer "$below" ;;
		esac
	done
	each=$((($(taken) - before) / many))
	for ((i = 0; i < many; i++)); do
		dm_remove "q$i"
	done
	note "$1: $each KiB"
}

# The first devices of a kind also pay for what is kept for the next ones.
t_memory() {
	local lower i each linear

	! grep -q ' kasan_' /proc/kallsyms || skip "a kernel that looks for bugs takes more"
	null a $((8 * many))
	lower=$dev
	for ((i = 0; i < many; i++)); do
		dm "l$i" "0 $((8 * mb / 512)) linear $lower $((8 * i * mb / 512))"
		layers[i]=$dev
		image "$dev" $((6 * mb))
	done
	idle linear
	at_least "$each" 8 "KiB of a linear device"
	linear=$each
	idle qed
	at_least "$each" "$linear" "KiB of an idle device"
	at_most $((each - linear)) 200 "KiB of an idle device, above a linear one's"
	clones
	at_least "$each" "$linear" "KiB of an image over another one"
	at_most $((each - linear)) 200 "KiB of an image over another one, above a linear device's"
}

# clones: the same for images over one that is there already
clones() {
	local lower

	truncate -s 7M "$tmp/golden"
	image "$tmp/golden" $((6 * mb))
	loop "$tmp/golden" ro
	below=$dev
	truncate -s 8M "$tmp/first"
	for lower in "$tmp/first" "${layers[@]}"; do
		above "$lower" $((6 * mb))
	done
	loop "$tmp/first"
	qed first "$dev" layer "$below"
	idle clone
}

# t_cache MIB CLUSTER TABLE KIB: the cache that a disk gets
t_cache() {
	local max

	max=$(awk '$1 == "MemTotal:" { print int($2 / 64) }' /proc/meminfo)
	[ "$max" -lt 32768 ] || max=32768
	truncate -s 64M "$tmp/img"
	image "$tmp/img" "$(($1 * mb))" "$2" "$3"
	truncate -s 64M "$tmp/img"
	loop "$tmp/img"
	qed q "$dev"
	if [ "$4" = max ]; then
		# the kernel keeps some memory that it does not count there
		at_most "$(status q limit)" $((max + max / 16)) "the limit of the cache"
		at_least "$(status q limit)" $((max - 4)) "the limit of the cache"
	else
		is "$(status q limit)" "$4" "the limit of the cache"
	fi
	dm_remove q
}

run t_memory "memory of an idle device" \
	"t_cache 1 65536 4 64" "a small disk has a small cache" \
	"t_cache 1024 4096 16 2048" "all tables of a disk have room" \
	"t_cache 131072 4096 16 max" "... but for a part of the memory at most"
