#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The power of an image device with a volatile cache is cut: what was flushed is
# there when the image is activated again, which needs no check, and goes on.
#
# CUTS in the environment says how many cuts there are under fio, 16 by default; there
# are a quarter as many under the hammer.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
size=$((128 * mb))			# of a guest's disk
disk=					# with the cache
cuts=0
devs=()					# by the number of the cut
early=0					# cuts before every cluster was mapped
at_once=4				# disks that one fio writes to
crashes=2				# of fio itself that are too few to look into

# stack [OPTION]...: one more image, on a recycled disk, or on a zeroed one if that is what the
# options say; sets dev
stack() {
	cuts=$((cuts + 1))
	null "p$cuts" 192 cache_size=64
	disk=$dev
	[ $# != 0 ] || garbage "$disk" 24
	image "$disk" "$size"
	if [ $# = 0 ]; then
		# the L1, too, was garbage
		io "$disk" "write:$c:$((4 * c)):0"
	fi
	io "$disk" flush
	qed "q$cuts" "$disk" "$@" commit_interval $((RANDOM % 4 ? 30 : 3600000))
	devs[cuts]=$dev
}

# any_time NR...: soon after the first commits
any_time() {
	local i

	for i; do
		wait_for 120 not status_is "q$i" commits 0
	done
	sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
	for i; do
		get "q$i"
		note "$commits commits, $mapped of $virtual mapped, $dirty dirty blocks"
		[ "$mapped" = "$virtual" ] || early=$((early + 1))
	done
}

ended() {
	timeout 120 tail --pid="$1" -f /dev/null || fail "the load does not end"
}

# power_on NR: after the cut the image is sound as it is, and can be used; sets dev
power_on() {
	blk dm wipe "$pre-q$1"
	dm_remove "q$1"
	null_on "p$1"
	sound "$dev"
	qed "q$1" "$dev"
	devs[$1]=$dev
}

# goes_on NR
goes_on() {
	io "${devs[$1]}" "write:0:$c:0x11" flush "read:0:$c:0x11"
	dm_remove "q$1"
	null_del "p$1"
}

# cut_hammer [OPTION]...: with writes of all kinds in flight, of which few are flushed
cut_hammer() {
	local pid

	stack "$@"
	bg nice -n 19 "$bin/hammer" -f "$tmp/versions" -t 4 -s 600 -E -F 10 -D 5 -r 10 -b 16384 \
		-S "$cuts" "$dev" 2>"$tmp/hammer"
	pid=$!
	any_time "$cuts"
	null_off "p$cuts"
	kill -TERM "$pid"
	ended "$pid"
	power_on "$cuts"
	hammer -v -c -f "$tmp/versions" -t 2 -S "$cuts" "$dev"
	goes_on "$cuts"
	rm "$tmp/versions"
}

# jobs FIRST LAST [OPTION]...: sets fio to the command for a job on each of these disks; every
# write is a synchronous one
jobs() {
	local i

	fio=(fio --output="$tmp/fio.log" --aux-path="$tmp" --direct=1 --sync=1 --ioengine=libaio
		--iodepth=16 --thread --rw=randwrite --bsrange=512-16k --size="$size"
		--verify=crc32c --verify_fatal=1 "${@:3}")
	for ((i = $1; i <= $2; i++)); do
		fio+=(--name="cut$i" --filename="${devs[i]}" --randseed="$i")
	done
}

# crashed FIRST PID EARLY: did fio crash? Then its disks are removed: nothing was cut.
crashed() {
	local i status=0

	wait "$2" || status=$?
	[ "$status" -gt 128 ] || return 1
	crashes=$((crashes - 1))
	[ "$crashes" -ge 0 ] || fail "fio crashes: status $status"
	note "fio crashed, status $status: once more"
	for ((i = $1; i <= cuts; i++)); do
		dm_remove "q$i"
		null_del "p$i"
	done
	rm -f "$tmp"/*.state "$tmp/trigger"
	cuts=$(($1 - 1))
	early=$3
}

# cut_fio [OPTION]...: several disks; fio keeps a record of what was complete, and then cuts the
# power of each of them
cut_fio() {
	local first=$((cuts + 1)) before=$early i pid fio off="cd /sys/kernel/config/nullb" records

	for ((i = 0; i < at_once; i++)); do
		stack "$@"
		off+="; echo 0 >${pre}p$cuts/power"
	done
	jobs "$first" "$cuts" --verify_state_save=1 --do_verify=0 \
		--trigger-file="$tmp/trigger" --trigger="sh -c '$off'"
	bg "${fio[@]}"
	pid=$!
	# shellcheck disable=SC2046	# numbers
	any_time $(seq "$first" "$cuts")
	touch "$tmp/trigger"
	ended "$pid"
	! crashed "$first" "$pid" "$before" || return 0
	records=("$tmp"/*.state)
	is "${#records[@]}" "$at_once" "the number of records of fio"
	for ((i = first; i <= cuts; i++)); do
		power_on "$i"
	done
	jobs "$first" "$cuts" --verify_only --verify_state_load=1
	"${fio[@]}" || fail "fio: $(cat "$tmp/fio.log")"
	note "verified $(grep -o 'io=[^ ]*' "$tmp/fio.log" | xargs)"
	for ((i = first; i <= cuts; i++)); do
		goes_on "$i"
	done
	rm -f "$tmp"/*.state "$tmp/trigger"
}

# t_cuts HOW CUTS [OPTION]...
t_cuts() {
	[ "$1" != cut_fio ] || need fio
	while [ "$cuts" -lt "$2" ]; do
		"$1" "${@:3}"
	done
	at_least "$early" $((($2 + 1) / 2)) "the number of cuts while clusters were allocated"
}

# A filesystem that only has zeroes in its file, which are no clusters yet
zero_file() {
	truncate -s 24M "$tmp/fs"
	mkfs.ext4 -q -O ^has_journal "$tmp/fs"
	loop "$tmp/fs"
	mount "$dev" "$tmp/mnt"
	dd if=/dev/zero of="$tmp/mnt/file" bs=1M count=4 conv=fsync status=none
	umount "$tmp/mnt"
	unloop "$dev"
}

# t_fua [OPTION]...: to overwrite a part of a file is a write with FUA and no flush
t_fua() {
	need mkfs.ext4
	null p0 64 cache_size=16
	disk=$dev
	zero_file
	image "$disk" $((24 * mb))
	io "$disk" flush
	qed q "$disk" commit_interval 3600000 "$@"
	dd if="$tmp/fs" of="$dev" bs="$c" conv=sparse,fsync oflag=direct status=none
	is "$(($(status q mapped) < 40))" 1 "whether the file has no clusters yet"
	mount "$dev" "$tmp/mnt"

	io "$tmp/mnt/file" "fua:$((4 * c)):$c:0x11"
	io_start "$disk"
	io "$tmp/mnt/file" "fua:$((4 * c + 512)):4096:0x12"
	io_end "$disk"
	is "$flushes" 0 "the number of flushes of a write in place"
	# in place, but the mapping is not durable
	io "$tmp/mnt/file" "write:$((10 * c)):$c:0x21" "fua:$((10 * c)):512:0x22" \
		"fua:$((20 * c + 4096)):$((3 * c)):0x31"
	null_off p0
	umount -l "$tmp/mnt"
	dm_remove q
	null_on p0
	sound "$disk"

	qed q "$disk"
	mount -o ro "$dev" "$tmp/mnt"
	io "$tmp/mnt/file" "read:0:$((4 * c)):0" "read:$((4 * c)):512:0x11" \
		"read:$((4 * c + 512)):4096:0x12" "read:$((4 * c + 4608)):$((c - 4608)):0x11" \
		"read:$((10 * c)):512:0x22" "read:$((20 * c)):4096:0" \
		"read:$((20 * c + 4096)):$((3 * c)):0x31" "read:$((23 * c + 4096)):4096:0"
	umount "$tmp/mnt"
}

each=$(((${CUTS:-16} + 1) / 2))
few=$(((each + 3) / 4))

run "t_cuts cut_hammer $few" "writes and flushes" \
	"t_cuts cut_hammer $few zeroed_from 5" "writes and flushes, clusters known to be zero" \
	"t_cuts cut_fio $each" "fio with synchronous writes" \
	"t_cuts cut_fio $each zeroed_from 5" "fio, clusters known to be zero" \
	t_fua "after a power cut all that was written with FUA is there" \
	"t_fua zeroed_from 5" "the same with clusters known to be zero"
