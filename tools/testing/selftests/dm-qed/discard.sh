#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Discards and zeroes: what is unmapped, what becomes of the space, and when.
#
# DISCARD_SECONDS=600 in the environment makes the last test a long one.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
disk=					# the image device

# stack MIB [NULL_BLK_ATTRIBUTE]... -- [OPTION]...: an image of 64 MiB on a disk of that many
stack() {
	local attributes=() size=$1

	shift
	while [ "$1" != -- ]; do
		attributes+=("$1")
		shift
	done
	null a "$size" "${attributes[@]}"
	disk=$dev
	image "$disk" $((64 * mb))
	qed q "$disk" "${@:2}"
}

# reclaimed: all that was discarded is free again
reclaimed() {
	commit q
	wait_for 20 status_is q reclaiming 0
}

# queue NAME: a limit of the device's queue
queue() {
	cat "/sys/class/block/$(basename "$(readlink -f "$dev")")/queue/$1"
}

# Sets discards and discarded, in sectors, to what the image device has got since it was made
discard_counts() {
	local s

	read -ra s <"/sys/class/block/$(basename "$(readlink -f "$disk")")/stat"
	discards=${s[11]}
	discarded=${s[13]}
}

t_limits() {
	stack 96 --
	is "$(queue discard_granularity)" "$c" "the granularity"
	at_least "$(queue discard_max_bytes)" $(((4 << 30) - 65536)) "the largest discard"
	dm_remove q
	qed q "$disk" ignore_discard
	is "$(queue discard_max_bytes)" 0 "the largest discard with ignore_discard"
	io "$dev" "write:0:$c:0x11" "!EOPNOTSUPP/discard:0:$c" "read:0:$c:0x11"
}

# Whole clusters go, parts stay.
t_clusters() {
	stack 96 -- commit_interval 3600000
	io "$dev" "write:0:$((40 * c)):0x11"
	is "$(status q used)" 49 "the number of used clusters"
	io "$dev" "discard:$((2 * c + 512)):$((3 * c))" \
		"read:0:$((3 * c)):0x11" "read:$((3 * c)):$((2 * c)):0" "read:$((5 * c)):$((35 * c)):0x11"
	get q
	is "$mapped $used $reclaiming" "38 49 2" "mapped, used, reclaiming"
	reclaimed
	get q
	is "$mapped $used $free" "38 47 $((total - 47))" "mapped, used, free"
	# nothing at all, within a cluster and over the end of one
	io "$dev" "discard:$((10 * c)):512" "discard:$((10 * c + 512)):$((c - 512))" \
		"discard:$((11 * c - 4096)):8192" "read:$((10 * c)):$((2 * c)):0x11"
	is "$(status q mapped)" 38 "the number of mapped clusters"
	# what is not mapped, and what has no table
	io "$dev" "discard:$((3 * c)):$((2 * c))" "discard:$((50 * c)):$((20 * c))"
	is "$(status q mapped)" 38 "the number of mapped clusters"
	io "$dev" "write:$((3 * c + 4096)):4096:0x22" "read:$((3 * c)):4096:0" \
		"read:$((3 * c + 4096)):4096:0x22" "read:$((3 * c + 8192)):$((2 * c - 8192)):0"
	dm_remove q
	sound "$disk"
	is_clean "$disk"
	qed q "$disk"
	io "$dev" "read:0:$((3 * c)):0x11" "read:$((3 * c)):4096:0" "read:$((3 * c + 4096)):4096:0x22" \
		"read:$((3 * c + 8192)):$((2 * c - 8192)):0" "read:$((5 * c)):$((35 * c)):0x11"
}

# The disk ends within a cluster, which counts as a whole one.
t_last_cluster() {
	null a 96
	disk=$dev
	image "$disk" $((10 * c + 1024))
	qed q "$disk"
	io "$dev" "write:$((9 * c)):$((c + 1024)):0x11"
	is "$(status q mapped)" 2 "the number of mapped clusters"
	io "$dev" "discard:$((10 * c)):512"
	is "$(status q mapped)" 2 "the number of mapped clusters"
	io "$dev" "discard:$((10 * c)):1024" "read:$((10 * c)):1024:0" "read:$((9 * c)):$c:0x11"
	is "$(status q mapped)" 1 "the number of mapped clusters"
	io "$dev" "discard:0:$((10 * c + 1024))"
	is "$(status q mapped)" 0 "the number of mapped clusters"

	# but not if only the table ends there, and the image goes on
	io "$dev" "write:0:$((2 * c)):0x22"
	dm_swap q "0 100 qed $disk"
	io "$dev" "discard:0:51200" "read:0:51200:0x22"
	dm_swap q "$(table "$disk")"
	io "$dev" "read:0:$((2 * c)):0x22"
}

# An L2 table without clusters is freed, at the next commit, and only then.
t_tables() {
	local small=4096

	null a 96
	disk=$dev
	# a table of one cluster maps 2 MiB
	image "$disk" $((16 * mb)) "$small" 1
	qed q "$disk" commit_interval 3600000
	io "$dev" "write:0:$((2 * mb)):0x11" "write:$((2 * mb)):$small:0x22" \
		"write:$((6 * mb - small)):$((2 * small)):0x33" flush
	# header, L1, 4 tables, 512 + 1 + 2 clusters
	is "$(status q used)" 521 "the number of used clusters"
	io "$dev" "discard:$((2 * mb)):$((4 * mb))"
	is "$(status q mapped)" 513 "the number of mapped clusters"
	is "$(status q used)" 521 "the number of used clusters before the commit"
	reclaimed
	# the tables for 2 and 4 MiB are empty
	is "$(status q used)" 517 "the number of used clusters"
	io "$dev" "discard:0:$((2 * mb))" "write:$((mb)):$small:0x44" flush
	wait_for 20 status_is q reclaiming 0
	# its table is there, or has been made again
	is "$(status q used)" 6 "the number of used clusters"
	io "$dev" "read:0:$mb:0" "read:$mb:$small:0x44" "read:$((mb + small)):$((5 * mb - small)):0" \
		"read:$((6 * mb)):$small:0x33"
	dm_remove q
	sound "$disk"
	qed q "$disk"
	is "$(status q used)" 6 "the number of used clusters, as scanned"
	io "$dev" "discard:0:$((16 * mb))"
	dm_remove q
	sound "$disk"
	qed q "$disk"
	is "$(status q used)" 2 "the number of used clusters of an empty image"
	io "$dev" "read:0:$((16 * mb)):0"
}

# One of 256 blocks, all of which are changed: more than are dropped at once
t_large_table() {
	local args=() i

	null a 300
	disk=$dev
	image "$disk" $((131072 * mb)) "$mb" 1
	qed q "$disk" commit_interval 3600000
	for ((i = 0; i < 256; i++)); do
		args+=("write:$((i * 512 * mb)):4096:0x11")
	done
	io "$dev" "${args[@]}" flush
	is "$(status q used)" 259 "the number of used clusters"
	io "$dev" "discard:0:$((131072 * mb))"
	reclaimed
	is "$(status q used)" 2 "the number of used clusters of an empty image"
	io "$dev" "write:$((1024 * mb)):4096:0x22" flush "read:$((1024 * mb)):4096:0x22" \
		"read:$((1024 * mb + 4096)):4096:0"
	is "$(status q used)" 4 "the number of used clusters"
	dm_remove q
	sound "$disk"
}

# What the image device is given
t_passdown() {
	stack 96 discard=1 -- commit_interval 3600000
	io "$dev" "write:0:$((40 * c)):0x11" flush
	discard_counts
	is "$discards" 0 "the number of discards"
	io "$dev" "discard:$((8 * c)):$((24 * c))"
	discard_counts
	is "$discards" 0 "the number of discards before the commit"
	reclaimed
	discard_counts
	is "$discards $discarded" "1 $((24 * 128))" "discards and discarded sectors"
	io "$dev" "read:0:$((8 * c)):0x11" "read:$((8 * c)):$((24 * c)):0" "read:$((32 * c)):$((8 * c)):0x11"
	is "$(status q zeroed)" 0 "the number of clusters known to be zero after a discard"
	dm_remove q
	qed q "$disk" no_discard_passdown
	io "$dev" "discard:0:$((40 * c))" flush
	reclaimed
	is "$(status q used)" 5 "the number of used clusters"
	discard_counts
	is "$discards" 1 "the number of discards with no_discard_passdown"
}

# A file under a loop device becomes as small as what is mapped.
t_file() {
	local blocks

	truncate -s 80M "$tmp/file"
	image "$tmp/file" $((64 * mb))
	loop "$tmp/file"
	disk=$dev
	qed q "$disk"
	is "$(($(queue write_zeroes_max_bytes) > 0))" 1 "whether the device takes zeroes"
	io "$dev" "write:0:$((800 * c)):0x11" flush
	io "$dev" "discard:$((100 * c)):$((700 * c))"
	reclaimed
	get q
	is "$mapped $zeroed" "100 700" "mapped, and known to be zero"
	blocks=$(($(stat -c %b "$tmp/file") / 128))
	note "$blocks clusters of the file have data, $used are used"
	at_most "$blocks" "$used" "the size of the file in clusters"
	# known to be zero: no fill, and an unordered commit
	io "$dev" "write:$((150 * c)):512:0x22" flush
	io_start "$disk"
	io "$dev" "write:$((200 * c + 4096)):4096:0x22" flush
	io_end "$disk"
	is "$flushes" 1 "the number of flushes"
	at_most "$wsectors" 24 "the number of sectors that were written"
	io "$dev" "read:$((200 * c)):4096:0" "read:$((200 * c + 4096)):4096:0x22" \
		"read:$((200 * c + 8192)):$((10 * c)):0"
	dm_remove q
	sound "$tmp/file"
}

# Zeroes, with and without keeping the space; tmpfs cannot do the former
t_zeroes() {
	need mkfs.ext4
	null f 128
	mkfs.ext4 -q -O ^has_journal "$dev"
	mount "$dev" "$tmp/mnt"
	truncate -s 80M "$tmp/mnt/file"
	image "$tmp/mnt/file" $((64 * mb))
	loop "$tmp/mnt/file"
	disk=$dev
	qed q "$disk"
	io "$dev" "write:0:$((20 * c)):0x11"
	io "$dev" "punch:$((2 * c + 512)):$((3 * c))" "read:0:$((2 * c + 512)):0x11" \
		"read:$((2 * c + 512)):$((3 * c)):0" "read:$((5 * c + 512)):$((15 * c - 512)):0x11"
	is "$(status q mapped)" 18 "the number of mapped clusters"
	io "$dev" "zero:$((10 * c - 512)):$((2 * c + 1024))" "read:$((10 * c - 1024)):512:0x11" \
		"read:$((10 * c - 512)):$((2 * c + 1024)):0" "read:$((12 * c + 512)):512:0x11"
	is "$(status q mapped)" 18 "the number of mapped clusters, some zeroed in place"
	# of what is not mapped, and a bit of what is
	io "$dev" "punch:$((19 * c + 1024)):$((20 * c))" "punch:$((50 * c)):512" \
		"read:$((19 * c)):1024:0x11" "read:$((19 * c + 1024)):$((30 * c)):0"
	is "$(status q mapped)" 18 "the number of mapped clusters"
	io "$dev" flush "punch:0:$((64 * mb))" "read:0:$((64 * mb)):0"
	is "$(status q mapped)" 0 "the number of mapped clusters"
	reclaimed
	is "$(status q used)" 5 "the number of used clusters"
	dm_remove q
	sound "$tmp/mnt/file"
	unloop "$disk"
	umount "$tmp/mnt"
}

# The device says that it takes zeroes and discards, and refuses them: a filesystem that
# passes on what the one below cannot do. Zeroes are written then, where they have to be.
t_refused() {
	local dir=$tmp/mnt

	mount -t ramfs ramfs "$dir"
	mkdir "$dir"/{lower,upper,work,all}
	mount -t overlay overlay "$dir/all" \
		-o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work"
	truncate -s 80M "$dir/all/file"
	loop "$dir/all/file"
	disk=$dev
	garbage "$disk" 30
	image "$disk" $((64 * mb))
	io "$disk" "write:$c:$((4 * c)):0" flush
	is "$(($(queue write_zeroes_max_bytes) > 0))" 1 "whether the device takes zeroes"
	refused fallocate -p -o 0 -l "$c" "$dir/all/file"
	qed q "$disk"
	io "$dev" "write:512:512:0x11" "read:0:512:0" "read:512:512:0x11" "read:1024:$((32 * mb)):0" \
		"write:$c:$((200 * c)):0x22" flush "discard:$c:$((100 * c))" flush
	reclaimed
	get q
	is "$mapped $zeroed $mode" "101 0 rw" "mapped, known to be zero, mode"
	io "$dev" "write:$((300 * c + 512)):512:0x33" "read:$((300 * c)):512:0" \
		"read:$((300 * c + 512)):512:0x33" "read:$((300 * c + 1024)):$((c - 1024)):0" \
		"read:$c:$((100 * c)):0" "read:$((101 * c)):$((100 * c)):0x22"
	dm_remove q
	sound "$disk"
	unloop "$disk"
	umount "$dir/all"
	umount "$dir"
}

# A cluster is used again only after its table was written, which nobody had asked for.
t_commit_first() {
	null a 96
	disk=$dev
	image "$disk" $((64 * mb))
	# header, L1, L2 and 11 clusters
	linear l "$disk" $((20 * 128))
	qed q "$dev" commit_interval 3600000
	io "$dev" "write:0:$((11 * c)):0x11" flush
	get q
	is "$free $commits" "0 1" "free clusters, and commits"
	io "$dev" "discard:$((4 * c)):$c"
	is "$(status q commits)" 1 "the number of commits"
	io "$dev" "write:$((100 * c)):$c:0x22"
	get q
	is "$commits $mode $mapped" "2 rw 11" "commits, mode, mapped clusters"
	io "$dev" "read:0:$((4 * c)):0x11" "read:$((4 * c)):$c:0" "read:$((5 * c)):$((6 * c)):0x11" \
		"read:$((100 * c)):$c:0x22"
	dm_remove q
	sound "$disk"
}

# A cluster is used again only after all I/O to it has ended.
t_in_flight() {
	local reader writer

	need_target delay
	null a 96
	disk=$dev
	image "$disk" $((64 * mb))
	# reads take an hour, or until the layer is changed again, writes no time
	dm l "0 $((20 * 128)) delay $disk 0 0"
	qed q "$dev" commit_interval 3600000
	io "$dev" "write:0:$((11 * c)):0x11" flush
	dm_swap l "0 $((20 * 128)) delay $disk 0 3600000 $disk 0 0"
	bg "$bin/blk" io "$dev" "read:$((4 * c)):$c:0x11"
	reader=$!
	wait_for 30 under_way "$dev"
	bg "$bin/blk" io "$dev" "discard:$((4 * c)):$c" "write:$((100 * c)):$c:0x22"
	writer=$!
	wait_for 30 status_is q queued 1
	sleep 0.5
	is "$(status q queued)" 1 "the number of queued bios while the cluster is read"
	dm_swap l "0 $((20 * 128)) delay $disk 0 0"
	wait "$reader" || fail "the reader got something else"
	wait "$writer" || fail "the write did not get the space"
	io "$dev" "read:$((4 * c)):$c:0" "read:$((100 * c)):$c:0x22"
}

# During the background scan it is not known what is mapped: nothing becomes free.
t_scan() {
	truncate -s 80M "$tmp/file"
	image "$tmp/file" $((64 * mb))
	loop "$tmp/file"
	disk=$dev
	qed q "$disk"
	io "$dev" "write:0:$((20 * c)):0x11"
	dm_remove q
	qed_at_once q "$disk" zeroed_from 100
	io "$dev" "punch:0:$((4 * c))" "read:0:$((4 * c)):0" "discard:$((10 * c)):$c"
	scanned q
	io "$dev" "read:$((4 * c)):$((6 * c)):0x11" "discard:$((4 * c)):$((16 * c))" \
		"read:0:$((20 * c)):0"
	reclaimed
	at_most "$(status q used)" 13 "the number of used clusters"
	dm_remove q
	sound "$tmp/file"
}

# A whole disk of 64 GiB: only the L1 table has to be written, and no cluster one by one.
t_whole_disk() {
	local tables=32 start

	truncate -s 70G "$tmp/file"
	image "$tmp/file" $((64 << 30))
	python3 - "$tmp/file" "$tables" <<-'END'
		import array, os, sys
		image, tables = open(sys.argv[1], "r+b"), int(sys.argv[2])
		cluster, entries = 65536, 32768
		first = 5 + 4 * tables
		image.seek(cluster)
		image.write(array.array("Q", range(5 * cluster, first * cluster, 4 * cluster)))
		for table in range(tables):
		    image.seek((5 + 4 * table) * cluster)
		    start = (first + table * entries) * cluster
		    image.write(array.array("Q", range(start, start + entries * cluster, cluster)))
	END
	loop "$tmp/file"
	disk=$dev
	qed q "$disk" cache_kib 65536 commit_interval 3600000
	is "$(status q mapped)" $((tables * 32768)) "the number of mapped clusters"
	io_start "$disk"
	start=$SECONDS
	io "$dev" "discard:0:$((64 << 30))"
	commit q
	wait_for 60 status_is q reclaiming 0
	io_end "$disk"
	is "$(status q used)" 5 "the number of used clusters"
	# the header, again each five seconds, and blocks of tables are read, but these are not written:
	# the tables are freed
	at_most "$reads" $((tables * 64 + 2 + (SECONDS - start) / 5)) "the number of reads"
	at_most $((wsectors - (tables * 32768 + tables * 4) * 128)) 16 "sectors of header and L1 table"
	at_most "$writes" 64 "the number of writes, with those of zeroes"
	at_most "$flushes" 6 "the number of flushes"
	dm_remove q
	sound "$tmp/file"
}

# t_hammer CLUSTER TABLE [OPTION]...: unmapping races everything else
t_hammer() {
	local size=$((24 * mb))

	null a 64 discard=1 cache_size=8
	disk=$dev
	garbage "$disk" 60
	image "$disk" "$size" "$1" "$2"
	io "$disk" "write:$1:$(($1 * $2)):0" flush
	qed q "$disk" "${@:3}"
	hammer -f "$tmp/state" -t 8 -n "$(often 400 2000)" -U 35 -C "$1" -F 4 "$dev"
	hammer -v -f "$tmp/state" "$dev"
	qed_reload q "$disk" "${@:3}"
	hammer -v -f "$tmp/state" "$dev"
	hammer -f "$tmp/state" -t 8 -n "$(often 150 700)" -U 35 -C "$1" -F 4 "$dev"
	dm_remove q
	sound "$disk"
	qed q "$disk" read_only
	hammer -v -f "$tmp/state" "$dev"
}

# A file under a loop device, with ext4 or XFS on it, is as large as what is in use.
# t_filesystem TYPE MIB
t_filesystem() {
	local blocks

	need "mkfs.$1" fstrim
	truncate -s $(($2 + 16))M "$tmp/file"
	image "$tmp/file" $(($2 * mb))
	loop "$tmp/file"
	disk=$dev
	qed q "$disk" zeroed_from 5
	scanned q
	# what mkfs discards is in use
	io "$dev" "write:0:$((64 * mb)):0x11" flush
	"mkfs.$1" -q "$dev"
	commit q
	wait_for 20 status_is q reclaiming 0
	note "$(status q mapped) clusters are mapped after mkfs"
	at_most "$(status q mapped)" 400 "the number of mapped clusters after mkfs"
	mount "$dev" "$tmp/mnt"
	dd if=/dev/urandom of="$tmp/mnt/a" bs=1M count=32 conv=fsync status=none
	dd if=/dev/urandom of="$tmp/mnt/b" bs=1M count=4 conv=fsync status=none
	at_least "$(status q mapped)" 576 "the number of mapped clusters with files"
	rm "$tmp/mnt/a"
	sync -f "$tmp/mnt/b"
	fstrim "$tmp/mnt"
	commit q
	wait_for 20 status_is q reclaiming 0
	at_most "$(status q mapped)" 500 "the number of mapped clusters after fstrim"
	umount "$tmp/mnt"
	get q
	blocks=$(($(stat -c %b "$tmp/file") / 128))
	note "$blocks clusters of the file have data, $used are used"
	at_most "$blocks" $((used + used / 50)) "the size of the file in clusters"
	case $1 in
	ext4) fsck.ext4 -fn "$dev" >/dev/null ;;
	xfs) xfs_repair -n "$dev" 2>/dev/null >&2 ;;
	esac
	blkdiscard -z "$dev"
	io "$dev" "read:0:$((64 * mb)):0"
	blkdiscard "$dev"
	is "$(status q mapped)" 0 "the number of mapped clusters"
	dm_remove q
	sound "$tmp/file"
}

# What QEMU sends for a guest that writes zeroes, and trims
t_qemu() {
	local drive

	need qemu-io
	truncate -s 80M "$tmp/file"
	image "$tmp/file" $((64 * mb))
	loop "$tmp/file"
	disk=$dev
	qed q "$disk"
	drive="driver=raw,discard=unmap,detect-zeroes=unmap,file.driver=host_device"
	drive+=",file.filename=$dev,cache.direct=on"
	qemu-io --image-opts "$drive" -c "write -P 0x11 0 20M" -c flush >/dev/null
	is "$(status q mapped)" 320 "the number of mapped clusters"
	qemu-io --image-opts "$drive" -c "write -P 0 4M 4M" -c "discard 10M 4M" -c "write -z -u 16M 1M" \
		-c "write -z 18M 64k" -c flush >/dev/null
	is "$(status q mapped)" 176 "the number of mapped clusters"
	io "$dev" "read:0:$((4 * mb)):0x11" "read:$((4 * mb)):$((4 * mb)):0" "read:$((8 * mb)):$((2 * mb)):0x11" \
		"read:$((10 * mb)):$((4 * mb)):0" "read:$((14 * mb)):$((2 * mb)):0x11" "read:$((16 * mb)):$mb:0" \
		"read:$((17 * mb)):$mb:0x11" "read:$((18 * mb)):$c:0" "read:$((18 * mb + c)):$((2 * mb - c)):0x11"
	dm_remove q
	sound "$tmp/file"
}

# Discards of what is in flight, beside fio that verifies
t_long() {
	local seconds=${DISCARD_SECONDS:-10} fio=

	null a 128 discard=1
	disk=$dev
	garbage "$disk" 100
	image "$disk" $((64 * mb))
	io "$disk" "write:$c:$((4 * c)):0" flush
	linear l "$disk" $(((9 + 1024 + 24) * 128))
	qed q "$dev" commit_interval 100
	if type -P fio >/dev/null; then
		bg fio --name=trim --filename="$dev" --direct=1 --ioengine=libaio --thread --offset=32m \
			--size=32m --time_based --runtime="$seconds" --rw=randtrimwrite --bs=64k --iodepth=8 \
			--serialize_overlap=1 --verify=crc32c --verify_backlog=64 --verify_fatal=1 \
			--output="$tmp/fio.log"
		fio=$!
	fi
	hammer -f "$tmp/state" -t 6 -s "$seconds" -l $((32 * mb)) -U 40 -C "$c" -F 3 "$dev"
	if [ -n "$fio" ]; then
		wait "$fio" || fail "fio: $(cat "$tmp/fio.log")"
		at_least "$(fio_trims "$tmp/fio.log")" 1 "the number of fio's trims"
	fi
	hammer -v -f "$tmp/state" -l $((32 * mb)) "$dev"
	dm_remove q
	sound "$disk"
	qed q "$disk" read_only
	hammer -v -f "$tmp/state" -l $((32 * mb)) "$dev"
}

run t_limits "limits of the queue, and ignore_discard" \
	t_clusters "whole clusters are unmapped" \
	t_last_cluster "the last cluster of the disk" \
	t_tables "empty tables are freed" \
	t_large_table "and large ones" \
	t_passdown "freed clusters are discarded after the commit" \
	"counts t_file" "freed clusters leave the file, and are known to be zero" \
	t_zeroes "zeroes, with and without their space" \
	t_refused "zeroes and discards that the device refuses" \
	t_commit_first "no use before the commit" \
	t_in_flight "no use while there is I/O" \
	t_scan "during a background scan" \
	t_whole_disk "a whole disk at once" \
	"t_hammer 65536 4" "unmapping and all else at once" \
	"t_hammer 4096 1 cache_kib 64 commit_interval 20" "with small clusters and a small cache" \
	"t_hammer 1048576 2 commit_interval 0" "with large clusters, each write durable" \
	"t_filesystem ext4 128" "ext4 on a sparse file: mkfs and fstrim" \
	"t_filesystem xfs 384" "XFS on a sparse file: mkfs and fstrim" \
	t_qemu "what QEMU sends" \
	t_long "discards of what is in flight, beside fio"
