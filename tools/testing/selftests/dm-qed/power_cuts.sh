#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The power of an image device with a volatile cache is cut: what was flushed is
# there when the image is activated again, which needs no check, and goes on.
#
# ROUNDS in the environment says how many cuts there are in all, 28 by default.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
size=$((64 * mb))			# of the guest's disk
disk=					# with the cache
cuts=0
early=0					# cuts before every cluster was mapped

# stack [OPTION]...: an image on a recycled disk, or on a zeroed one if that is what the options say
stack() {
	cuts=$((cuts + 1))
	null "p$cuts" 96 cache_size=64
	disk=$dev
	[ $# != 0 ] || garbage "$disk" 24
	image "$disk" "$size"
	if [ $# = 0 ]; then
		# the L1, too, was garbage
		dd if=/dev/zero of="$disk" bs="$c" seek=1 count=4 oflag=direct status=none
	fi
	io "$disk" flush
	qed q "$disk" "$@" commit_interval $((RANDOM % 4 ? 30 : 3600000))
}

# Soon after the first commit
any_time() {
	wait_for 20 not status_is q commits 0
	sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
	get q
	note "$commits commits, $mapped of $virtual mapped, $dirty dirty blocks"
	[ "$mapped" = "$virtual" ] || early=$((early + 1))
}

ended() {
	timeout 30 tail --pid="$1" -f /dev/null || fail "the load does not end"
}

# After the cut: the image is sound as it is, and can be used
power_on() {
	blk dm wipe "$pre-q"
	dm_remove q
	null_on "p$cuts"
	sound "$dev"
	qed q "$dev"
}

goes_on() {
	io "$dev" "write:0:$c:0x11" flush "read:0:$c:0x11"
	dm_remove q
	null_del "p$cuts"
}

# cut_hammer [OPTION]...: with writes of all kinds in flight, of which few are flushed
cut_hammer() {
	local pid

	stack "$@"
	bg nice -n 19 "$bin/hammer" -f "$tmp/versions" -t 4 -s 60 -E -F 10 -D 5 -r 10 -b 16384 \
		-S "$cuts" "$dev" 2>"$tmp/hammer"
	pid=$!
	any_time
	null_off "p$cuts"
	kill -TERM "$pid"
	ended "$pid"
	power_on
	hammer -v -c -f "$tmp/versions" -t 2 -S "$cuts" "$dev"
	goes_on
	rm "$tmp/versions"
}

# fio_job [OPTION]...: every write is a synchronous one
fio_job() {
	(
		cd "$tmp" || exit
		fio --name=cut --filename="$dev" --direct=1 --sync=1 --ioengine=libaio --iodepth=16 \
			--rw=randwrite --bsrange=512-16k --size="$size" --randseed="$cuts" --verify=crc32c \
			--verify_fatal=1 "$@"
	) >"$tmp/fio.log" 2>&1
}

# cut_fio [OPTION]...: fio keeps a record of what was complete, and then cuts the power
cut_fio() {
	local pid

	stack "$@"
	fio_job --verify_state_save=1 --trigger-file="$tmp/trigger" --do_verify=0 \
		--trigger="sh -c 'echo 0 >/sys/kernel/config/nullb/${pre}p$cuts/power'" &
	pid=$!
	echo "$pid" >>"$tmp/pids"
	any_time
	touch "$tmp/trigger"
	ended "$pid"
	ls "$tmp"/*.state >/dev/null || fail "fio has kept no record: $(cat "$tmp/fio.log")"
	power_on
	fio_job --verify_only --verify_state_load=1 || fail "fio: $(cat "$tmp/fio.log")"
	note "verified $(grep -o 'READ:.*io=[^ ]*' "$tmp/fio.log" | sed 's/.*io=//')"
	goes_on
	rm -f "$tmp"/*.state "$tmp/trigger"
}

# t_cuts HOW ROUNDS [OPTION]...
t_cuts() {
	local i

	[ "$1" != cut_fio ] || need fio
	for ((i = 0; i < $2; i++)); do
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

each=$(((${ROUNDS:-28} + 3) / 4))

run "t_cuts cut_hammer $each" "writes and flushes" \
	"t_cuts cut_hammer $each zeroed_from 5" "writes and flushes, clusters known to be zero" \
	"t_cuts cut_fio $each" "fio with synchronous writes" \
	"t_cuts cut_fio $each zeroed_from 5" "fio, clusters known to be zero" \
	t_fua "after a power cut all that was written with FUA is there" \
	"t_fua zeroed_from 5" "the same with clusters known to be zero"
