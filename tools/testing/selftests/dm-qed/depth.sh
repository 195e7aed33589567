#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Chains that grow: a new image comes over those that are in use, up to eight of them, with clusters
# of several sizes. What was written at each depth is there, and what is below is not written.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

size=$((12 * mb))
geometries=(65536:4 4096:2 16384:4 1048576:2 8192:1 262144:2 65536:2 4096:4)
files=()				# the images, the lowest first
line=()					# the words of a table line for what is below the uppermost

# push: a new image over those that are there, not active yet
push() {
	local nr=${#files[@]} file geometry

	file=$tmp/image$nr.qed
	geometry=${geometries[nr % ${#geometries[@]}]}
	truncate -s $((2 * size + 16 * mb)) "$file"
	if [ "$nr" = 0 ]; then
		image "$file" "$size" "${geometry%:*}" "${geometry#*:}"
	else
		above "$file" "$size" "${geometry%:*}" "${geometry#*:}"
		line=(layer "$disk" ${line[@]+"${line[@]}"})
	fi
	loop "$file"
	disk=$dev
	files+=("$file")
}

# up: activate the uppermost; sets $dev
up() {
	qed q "$disk" ${line[@]+"${line[@]}"}
}

# reload: its table anew, or that of a new uppermost image
reload() {
	qed_reload q "$disk" ${line[@]+"${line[@]}"}
}

# frozen: nothing was written to what is below, of which $tmp/sums has the sums of before
frozen() {
	local nr=$((${#files[@]} - 1))

	[ "$nr" = 0 ] || md5sum --quiet -c "$tmp/sums" || fail "an image below was written"
	md5sum "${files[@]}" >"$tmp/sums"
}

nr_writes() {
	local s

	read -ra s < <(io_counts "$dev")
	echo "${s[1]}"
}

# written NUMBER: have there been so many writes?
written() {
	[ "$(nr_writes)" -ge "$1" ]
}

# pound OPTION...: hammer it, with tables that are loaded anew meanwhile
pound() {
	local i worker

	bg "$bin/hammer" -f "$tmp/state" -z -U 25 -b 131072 -F 3 -t 6 -s 600 "$@" "$dev"
	worker=$!
	for i in 1 2 3; do
		wait_for 120 written $(($(nr_writes) + 20))
		reload
	done
	kill -TERM "$worker"
	wait "$worker" || fail "the hammer has found something"
}

# At each depth it is hammered, over what the hammer has written before.
t_hammer() {
	local n

	for n in {0..8}; do
		push
		if [ "$n" = 0 ]; then
			up
		else
			reload
			frozen
			hammer -v -f "$tmp/state" "$dev"
		fi
		count
		is "$depth" "$n" "the number of devices below"
		pound -S "$n"
		if [ $((n % 2)) = 1 ]; then
			dm_remove q
			up
		fi
		hammer -v -f "$tmp/state" -b 1048576 "$dev"
	done
	dm_remove q
	for n in "${files[@]}"; do
		sound "$n"
	done
	unset "files[-1]"
	frozen
}

# t_fio DEPTH: fio over so many images, each of which has a part of the disk, with tables that are
# loaded anew; what fio has not written is as before
t_fio() {
	local n at pid end=$((8 * mb))
	local job=(--name=verify --rw=randwrite --bs=4608 --size="$end" --iodepth=16 --verify=crc32c
		--verify_fatal=1)

	need fio
	for ((n = 0; n <= $1; n++)); do
		push
		up
		for ((at = n * 700; at * 512 + 24576 < size; at += 2100)); do
			io "$dev" "write:$((at * 512)):$((n * 2560 + 512)):$((n + 1))"
		done
		[ "$n" = "$1" ] || dm_remove q
	done
	dd if="$dev" of="$tmp/before" bs=1M iflag=direct status=none
	run_fio "${job[@]}" --filename="$dev" --do_verify=0 &
	pid=$!
	echo "$pid" >>"$tmp/lib/pids"
	while kill -0 "$pid" 2>/dev/null; do
		reload
	done
	wait "$pid"
	run_fio "${job[@]}" --filename="$dev" --verify_only=1
	dm_remove q
	sound "$disk"
	up
	run_fio "${job[@]}" --filename="$dev" --verify_only=1
	io "$dev" "cmp:$end:$((size - end)):$tmp/before"
}

run t_hammer "hammered at each depth, up to eight" \
	"t_fio 3" "fio over three images" \
	"t_fio 8" "fio over eight"
