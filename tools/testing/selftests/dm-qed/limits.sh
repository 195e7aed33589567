#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Image devices of all kinds: what the new device says of itself, by what is below,
# and that all I/O works that it offers.
#
# LIMITS_DISKS: disks of the machine that may be overwritten, of 64 MiB and zeroed: of virtio, SCSI
# over virtio, each with blocks of 512 and of 4096 bytes, and persistent memory

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536				# a cluster, unless the test says otherwise
part=4096			# of a cluster
disk=				# the image device

zram_off() {
	echo 1 >"/sys/block/zram$1/reset" && echo "$1" >/sys/class/zram-control/hot_remove
}

zram() {
	local id

	load zram num_devices=0
	id=$(cat /sys/class/zram-control/hot_add)
	later zram_off "$id"
	echo 64M >"/sys/block/zram$id/disksize"
	disk=/dev/zram$id
}

ram() {
	load brd rd_nr=1 rd_size=65536
	disk=/dev/ram0
}

# nvme DEVICE: behind an NVMe target of the kernel's, and its initiator; sets $disk
nvme() {
	local target=/sys/kernel/config/nvmet path

	load nvmet-tcp
	load nvme-tcp
	mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
	later nvme_off "$target"
	mkdir "$target/subsystems/$pre" "$target/subsystems/$pre/namespaces/1" "$target/ports/1"
	echo 1 >"$target/subsystems/$pre/attr_allow_any_host"
	echo -n "$1" >"$target/subsystems/$pre/namespaces/1/device_path"
	echo 1 >"$target/subsystems/$pre/namespaces/1/enable"
	echo tcp >"$target/ports/1/addr_trtype"
	echo ipv4 >"$target/ports/1/addr_adrfam"
	echo 127.0.0.1 >"$target/ports/1/addr_traddr"
	echo 4420 >"$target/ports/1/addr_trsvcid"
	ln -s "$target/subsystems/$pre" "$target/ports/1/subsystems/$pre"
	echo "transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=$pre" >/dev/nvme-fabrics
	wait_for 20 compgen -G "/dev/nvme*n1" >/dev/null
	path=$(compgen -G "/dev/nvme*n1")
	wait_for 10 test -b "$path"
	disk=$path
}

nvme_off() {
	local dir

	for dir in /sys/class/nvme/nvme*; do
		[ ! -e "$dir/delete_controller" ] || echo 1 >"$dir/delete_controller"
	done
	rm -f "$1/ports/1/subsystems/$pre"
	rmdir "$1/ports/1" "$1/subsystems/$pre/namespaces/1" "$1/subsystems/$pre"
}

# limit DEVICE NAME: of its queue, or of the disk; 0 if the kernel does not know it. Sets $value
limit() {
	local dir=/sys/class/block/${1##*/}

	value=0
	if [ -f "$dir/queue/$2" ]; then
		read -r value <"$dir/queue/$2"
	elif [ -f "$dir/$2" ]; then
		read -r value <"$dir/$2"
	fi
}

# limits_are NAME VALUE [NAME VALUE]...: those of $dev
limits_are() {
	while [ $# != 0 ]; do
		limit "$dev" "$1"
		is "$value" "$2" "$1"
		shift 2
	done
}

# below NAME: of $disk, to be compared with; sets $value
below() {
	limit "$disk" "$1"
	note "below: $1 $value"
}

# always: the limits of $dev that do not depend on options
always() {
	local best=$((c < mb ? c : mb)) opt min physical

	below logical_block_size
	limits_are logical_block_size "$value"
	below physical_block_size
	physical=$((value < c ? value : c))
	limits_are physical_block_size "$physical"
	# of discard_alignment the kernel has a file for disks, but shows this there
	below alignment_offset
	limits_are alignment_offset $((value % physical))

	# as below if that is whole clusters
	below minimum_io_size
	min=$value
	below optimal_io_size
	opt=$value
	if [ "$opt" = 0 ] || [ $((opt % best)) != 0 ]; then
		opt=$best
		min=$best
	fi
	limits_are minimum_io_size "$min" optimal_io_size "$opt"

	# clusters are anywhere
	limits_are chunk_sectors 0 atomic_write_max_bytes 0 \
		atomic_write_unit_max_bytes 0 zone_append_max_bytes 0 dax 0 zoned none
}

# zeroes: those that are offered over $disk; sets $punch and $quick
zeroes() {
	below write_zeroes_max_bytes
	punch=$((value ? max : 0))
	below write_zeroes_unmap_max_hw_bytes
	quick=$((value ? max : 0))
	limits_are write_zeroes_max_bytes "$punch" write_zeroes_unmap_max_hw_bytes "$quick"
}

# contents: what exercise() leaves on the disk
contents() {
	local partly=$((2 * c + part))

	io "$dev" "read:0:$partly:0x11" "read:$partly:$((c - part)):0x11" \
		"read:$((3 * c)):$((2 * c)):0" "read:$((5 * c)):$((3 * c)):0x11" \
		"read:$((8 * c)):$partly:$((punch ? 0 : 0x11))" \
		"read:$((8 * c + partly)):$c:0x11" \
		"read:$((12 * c)):$partly:0" "read:$((12 * c + partly)):$c:0x11" \
		"read:$((16 * c)):$partly:$((quick ? 0 : 0x11))" \
		"read:$((16 * c + partly)):$((2 * c - part)):0x11" "read:$((20 * c)):$part:0x22" \
		"read:$((20 * c + part)):$((c - part)):0" "read:$((40 * c)):$part:0x33"
}

# exercise: all I/O that there is, twice: on new clusters, and on those that were given back and
# may be taken as zero. What the device below turns out not to do goes on to work, and is offered.
exercise() {
	local no='!EOPNOTSUPP/' partly=$((2 * c + part))

	zeroes
	for _ in 1 2; do
		io "$dev" "write:0:$((21 * c)):0x11" "fua:$((40 * c)):$part:0x33" flush \
			"discard:$partly:$((3 * c))" \
			"${no:punch ? ${#no} : 0}punch:$((8 * c)):$partly" \
			"zero:$((12 * c)):$partly" \
			"${no:quick ? ${#no} : 0}quick:$((16 * c)):$partly" \
			"discard:$((20 * c)):$c"
		commit q
		wait_for 20 status_is q reclaiming 0
		io "$dev" "write:$((20 * c)):$part:0x22"
		contents
		limits_are write_zeroes_max_bytes "$punch" write_zeroes_unmap_max_hw_bytes "$quick"
	done
	is "$(status q mode)" rw "the mode"
}

# anew: the same for another table, which device mapper asks the device below for
anew() {
	local punch quick

	zeroes
}

# try: an image of 40 clusters and a part of one on $disk
try() {
	local max=$((0xffffffff / c * c)) punch quick

	image "$disk" $((40 * c + part)) "$c"
	qed q "$disk"
	always
	limits_are discard_granularity "$c" discard_max_bytes "$max" discard_max_hw_bytes "$max"
	exercise
	dm_remove q
	sound "$disk"
	is_clean "$disk"

	qed q "$disk" ignore_discard
	anew
	limits_are discard_granularity 0 discard_max_bytes 0 discard_max_hw_bytes 0
	io "$dev" "!EOPNOTSUPP/discard:0:$c"
	dm_remove q

	# nothing that writes is offered
	qed q "$disk" read_only
	always
	limits_are discard_granularity 0 discard_max_bytes 0 discard_max_hw_bytes 0 \
		write_zeroes_max_bytes 0 write_zeroes_unmap_max_hw_bytes 0
	io "$dev" "!EOPNOTSUPP/discard:0:$c" "!EOPNOTSUPP/punch:0:$c" "!EOPNOTSUPP/quick:0:$c"
	contents
	dm_remove q
}

t_scsi() {
	scsi "$@"
	try
}

# scsi_debug has no protection information for WRITE SAME
t_protected() {
	scsi dif=1 dix=1
	echo 0 >"$(compgen -G "/sys/class/block/${disk##*/}/device/scsi_disk/*/max_write_same_blocks")"
	try
	limit "$disk" integrity/format
	is "$value" T10-DIF-TYPE1-CRC "the protection below"
}

# Zeroes that are refused, whatever the disk has offered, and are not offered any more then
t_refuses() {
	scsi write_same_length=1
	echo 1024 >"$(compgen -G "/sys/class/block/${disk##*/}/device/scsi_disk/*/max_write_same_blocks")"
	below write_zeroes_max_bytes
	is "$value" 524288 "what is offered below"
	try
	below write_zeroes_max_bytes
	is "$value" 0 "what is offered below by now"
}

# Zeroes that deallocate, and a layer that passes them on
t_deallocates() {
	scsi lbpu=1 lbpws=1 lbprz=1
	below write_zeroes_max_bytes
	at_least "$value" 4096 "the largest write of zeroes below"
	try
	linear l "$disk"
	disk=$dev
	try
}

# whole_discards: those that are split begin with whole clusters; on a larger image
whole_discards() {
	local before

	qed q "$disk"
	before=$(status q mapped)
	io "$dev" "write:$((41 * c)):$((32 * c)):0x11"
	is "$(status q mapped)" $((before + 32)) "what is mapped"
	echo $((3 * c)) >"/sys/class/block/${dev##*/}/queue/discard_max_bytes"
	io "$dev" "discard:$((41 * c)):$((32 * c))"
	is "$(status q mapped)" "$before" "what is still mapped"
}

# Physical blocks that are larger than clusters, and begin anywhere
t_physical() {
	c=4096
	part=512
	scsi physblk_exp=6 lowest_aligned=9 lbpu=1 unmap_granularity=128 unmap_alignment=9
	below physical_block_size
	is "$value" 32768 "the physical block size below"
	below alignment_offset
	is "$value" 4608 "the alignment_offset below"
	try
	image "$disk" $((100 * c)) "$c"
	whole_discards
}

# Clusters larger than what should be read ahead
t_large_clusters() {
	c=$((4 * mb))
	null a 256 discard=1
	disk=$dev
	try
	qed q "$disk"
	limits_are optimal_io_size "$mb"
	limit "$dev" read_ahead_kb
	at_most "$value" 2048 "what is read ahead, in KiB"
}

t_null() {
	null a 64 "$@"
	disk=$dev
	try
}

t_zoned() {
	null a 64 zoned=1 zone_size=4
	disk=$dev
	below zoned
	is "$value" host-managed "the model of its zones"
	refused blk dm create "$pre-q" <<<"0 64 qed $disk"
}

# t_tmpfs BLOCK: it has no zeroes that keep their space, and a loop device finds out too late
t_tmpfs() {
	truncate -s 64M "$tmp/file"
	loop "$tmp/file" "$1"
	disk=$dev
	try
}

# On ext4, which has such zeroes
t_large_blocks() {
	need mkfs.ext4
	null a 128 discard=1
	mkfs.ext4 -q "$dev"
	mount "$dev" "$tmp/mnt"
	truncate -s 64M "$tmp/mnt/file"
	loop "$tmp/mnt/file" 4096
	disk=$dev
	try
}

# t_disk NAME BLOCK: that one of $LIMITS_DISKS
t_disk() {
	for disk in ${LIMITS_DISKS-}; do
		limit "$disk" logical_block_size
		if [[ $disk == /dev/$1* ]] && [ "$value" = "$2" ]; then
			try
			return
		fi
	done
	skip "no such disk in LIMITS_DISKS"
}

t_zram() {
	zram
	try
}

t_ram() {
	ram
	try
}

# t_nvme PARAMETER...: of the disk that the target serves
t_nvme() {
	scsi "$@"
	nvme "$disk"
	try
}

groups=/sys/bus/pseudo/drivers/scsi_debug/group_number_stats

# hinted DEVICE: of one write of data that lives for long, how many writes tell the disk? The hint
# becomes the number of a group there. Sets $value
hinted() {
	echo 0 >"$groups"
	python3 -c '
import fcntl, mmap, os, struct, sys
F_SET_RW_HINT, RWH_WRITE_LIFE_LONG = 1036, 4
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
fcntl.fcntl(fd, F_SET_RW_HINT, struct.pack("Q", RWH_WRITE_LIFE_LONG))
os.pwrite(fd, mmap.mmap(-1, 4096), 0)' "$1"
	value=$(awk '$1 > 0 { sum += $2 } END { print sum + 0 }' "$groups")
}

# For how long data will live is not lost on the way, where the kernel knows of it.
t_hints() {
	scsi
	if ! [ -e "$groups" ]; then
		note "the hints of this kernel are not for bios"
		return
	fi
	hinted "$disk"
	is "$value" 1 "the number of such writes, without a layer"
	image "$disk" $((40 * c))
	qed q "$disk"
	note "with zeroes around it, then in place"
	hinted "$dev"
	is "$value" 1 "the number of such writes to a new cluster"
	hinted "$dev"
	is "$value" 1 "the number of such writes in place"
}

run "t_scsi" "a SCSI disk without provisioning" \
	"t_scsi lbpu=1" "a SCSI disk with UNMAP" \
	"t_scsi lbpws=1 lbprz=1" "a SCSI disk with WRITE SAME (16) that unmaps" \
	"t_scsi lbpws10=1 lbprz=1" "a SCSI disk with WRITE SAME (10) that unmaps" \
	"t_scsi lbpu=1 lbpws=1 lbprz=0" "a SCSI disk that unmaps to what it likes" \
	"t_scsi lbpu=1 lbpws=1 lbpws10=1 lbprz=2" "a SCSI disk that unmaps to ones" \
	"t_scsi sector_size=4096 lbpu=1 lbpws=1" "a SCSI disk with blocks of 4096 bytes" \
	t_protected "a SCSI disk with protection information" \
	"t_scsi atomic_wr=1" "a SCSI disk with atomic writes" \
	t_refuses "a SCSI disk that refuses what it has offered" \
	t_deallocates "zeroes that deallocate, and a linear layer" \
	t_hints "how long data will live" \
	t_physical "physical blocks larger than a cluster" \
	t_large_clusters "clusters larger than what should be read ahead" \
	t_null "a disk without discards and zeroes" \
	"t_null discard=1 blocksize=4096" "a disk with discards alone and large blocks" \
	"t_null discard=1 cache_size=8" "a disk with a write cache" \
	t_zoned "a zoned disk is refused" \
	"t_tmpfs 512" "a loop device that refuses zeroes that it has offered" \
	"t_tmpfs 4096" "the same with large blocks" \
	t_large_blocks "a loop device with large blocks" \
	"t_disk vd 512" "a virtio disk" \
	"t_disk vd 4096" "a virtio disk with large blocks" \
	"t_disk sd 512" "a SCSI disk over virtio" \
	"t_disk sd 4096" "a SCSI disk over virtio with large blocks" \
	"t_disk pmem 512" "persistent memory" \
	t_zram "a disk of compressed memory" \
	t_ram "a disk of memory" \
	"t_nvme" "an NVMe namespace" \
	"t_nvme lbpu=1 lbpws=1 lbprz=1" "an NVMe namespace that deallocates"
