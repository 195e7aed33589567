#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images with a backing file: what is below shows where the image has no cluster, and only there;
# QEMU reads the same.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

base=					# the backing file
below=					# a loop device on it
img=					# the image over it
disk=					# a loop device on that
raw=					# a file that has what the guest's disk is to have
twin=					# a loop device on it
size=					# its size

# fill FILE BYTES SEED: with something else in each sector
fill() {
	python3 -c 'import random, sys
random.seed(int(sys.argv[3]))
open(sys.argv[1], "wb").write(random.randbytes(int(sys.argv[2])))' "$@"
}

# overlay BASE-BYTES BYTES [CLUSTER [TABLE]]: an image over a backing file that is full
overlay() {
	need qemu-img
	base=$tmp/base
	img=$tmp/image.qed
	raw=$tmp/raw
	size=$2
	fill "$base" "$1" 1
	sum=$(md5sum <"$base")
	cp "$base" "$raw"
	truncate -s "$size" "$raw"
	qemu-img create -q -f qed -b "$base" -F raw \
		-o "cluster_size=${3:-65536},table_size=${4:-4}" "$img" "$size"
	loop "$raw"
	twin=$dev
	loop "$base" ro
	below=$dev
	attach
}

attach() {
	truncate -s "$((2 * size + 64 * mb))" "$img"
	loop "$img"
	disk=$dev
}

# Give the image back the way QEMU wants it
detach() {
	unloop "$disk"
	qedimg truncate "$img"
}

# over [OPTION]...: activate it; sets $dev
over() {
	qed q "$disk" backing "$below" commit_interval 3600000 "$@"
}

# same: the device has what $raw has
same() {
	io "$dev" "cmp:0:$size:$raw"
}

# both COMMAND...: to the device and to what it is compared with
both() {
	io "$dev" "$@"
	io "$twin" "$@"
}

# judge: the image has it, too, as QEMU reads it, and nothing was written below
judge() {
	dm_remove q
	sound "$disk"
	detach
	# what is free in the middle is a leak for it
	qemu-img check -f qed "$img" || [ $? = 3 ] || fail "QEMU finds errors"
	qemu-img compare -q -f qed -F raw "$img" "$raw" || fail "QEMU reads other data"
	is "$(md5sum <"$base")" "$sum" "the sum of the backing file"
}

# count: the numbers of clusters copied and of reads below
count() {
	[[ $(status q below) =~ ^1/([0-9]+)/([0-9]+)$ ]] || fail "status: $(status q below)"
	copied=${BASH_REMATCH[1]}
	reads_below=${BASH_REMATCH[2]}
}

# random N SEED: sets $ops to so many writes and zeroes of a part of the disk
random() {
	local i at length

	RANDOM=$2
	ops=()
	for ((i = 0; i < $1; i++)); do
		at=$(((RANDOM << 15 | RANDOM) % (size / 512)))
		length=$((RANDOM % 4 ? RANDOM % 32 + 1 : RANDOM % 1024 + 1))
		[ $((at + length)) -le $((size / 512)) ] || length=$((size / 512 - at))
		case $((RANDOM % 5)) in
		0) ops+=("punch:$((at * 512)):$((length * 512))") ;;
		1) ops+=("zero:$((at * 512)):$((length * 512))") ;;
		*) ops+=("write:$((at * 512)):$((length * 512)):$((RANDOM % 255 + 1))") ;;
		esac
	done
}

# t_turns BASE-BYTES BYTES CLUSTER TABLE: we write, and QEMU, in turn
t_turns() {
	local turn ops file

	need qemu-io
	overlay "$@"
	for turn in 1 2 3; do
		over
		same
		random 60 "$turn"
		both "${ops[@]}"
		same
		# what was written is read from the image now
		dm_remove q
		over
		same
		judge
		for file in "qed $img" "raw $raw"; do
			# shellcheck disable=SC2086	# two words
			qemu-io -f $file -c "write -P $turn $((turn * 300))k 100k" \
				-c "write -z $((turn * 500))k 150k" >"$tmp/qemu-io.log"
		done
		attach
	done
	over
	same
	judge
}

# Each state of a cluster, written in part and as a whole, and read by QEMU
t_states() {
	local c=65536 i ops=()

	need qemu-io
	overlay $((16 * 65536)) $((16 * 65536))
	detach
	for i in 1 4 7 10; do
		qemu-io -f qed -c "write -z $((i * 64))k 64k" -c "write -P 9 $((i * 64 + 64))k 64k" \
			"$img" >"$tmp/qemu-io.log"
		qemu-io -f raw -c "write -z $((i * 64))k 64k" -c "write -P 9 $((i * 64 + 64))k 64k" \
			"$raw" >"$tmp/qemu-io.log"
	done
	attach
	over
	same
	# below shows in 0, 3, 6 and 9; 1, 4, 7 and 10 are zero, 2, 5, 8 and 11 have data
	for i in 0 1 2; do
		ops+=("write:$((i * c + 512)):1024:7")
	done
	for i in 3 4 5; do
		ops+=("write:$((i * c)):$c:8")
	done
	for i in 6 7 8; do
		ops+=("punch:$((i * c + 4096)):8192")
	done
	for i in 9 10 11; do
		ops+=("punch:$((i * c)):$c")
	done
	both "${ops[@]}"
	same
	judge
}

# Over the last sectors of the backing file, wherever these are
t_end() {
	local end=$((5 * 65536 + 7 * 512))

	overlay $end $((12 * 65536 + 512))
	over
	same
	both "write:$((5 * 65536 + 512)):512:7" "write:$((12 * 65536)):512:8"
	same
	count
	is "$copied" 1 "the number of clusters copied"
	both "write:$((4 * 65536)):$((2 * 65536)):9" "punch:$((4 * 65536 + 512)):$((8 * 65536))"
	same
	judge
}

# What is behind the end of the image never shows.
t_longer() {
	overlay $((8 * mb)) $((mb + 1536))
	over
	same
	both "write:$mb:512:7"
	same
	refused dmsetup message "$pre-q" 0 resize 4096
	judge
	qemu-img convert -f qed -O raw "$img" "$tmp/all"
	cmp "$tmp/all" "$raw"
	attach
	# in the cluster itself, too
	over
	dm_remove q
	at=$(blk u64 "$disk" $(($(blk u64 "$disk" "$(blk u64 "$disk" 40)") + 16 * 8)))
	io "$disk" "read:$((at + 1536)):$((65536 - 1536)):0"
}

# Where nothing is below, all is as without.
t_resize() {
	overlay $((65536 * 3)) $((65536 * 4))
	over
	dmsetup message "$pre-q" 0 resize $((65536 * 9 / 512))
	dm_remove q
	size=$((65536 * 9))
	truncate -s "$size" "$raw"
	loop "$raw"
	twin=$dev
	over
	same
	both "write:$((65536 * 2 + 512)):$((65536 * 5)):7"
	same
	judge
}

# Discards take away what was written, but not to show what is below. What nobody has written
# they leave.
t_discard() {
	local c=65536

	overlay $((8 * c)) $((8 * c))
	over
	both "write:$c:$((2 * c)):7"
	io "$dev" "discard:0:$((4 * c))"
	io "$twin" "punch:$c:$((2 * c))"
	same
	io "$dev" flush
	both "write:$((c + 512)):512:8"
	same
	judge
}

# Zeroes over what is below need no space but that of tables.
t_zeroes() {
	local before

	overlay $((8 * mb)) $((8 * mb))
	over
	before=$(status q used)
	both "punch:65536:$((4 * mb))"
	same
	is "$(($(status q used) - before))" 4 "the clusters that this takes"
	both "write:0:512:7" "punch:0:$((8 * mb))"
	same
	io "$dev" flush
	wait_for 10 status_is q used $((before + 4))
	judge
}

# A small write is one of a cluster, and one read below, unless all of the cluster is written.
t_costs() {
	local c=65536

	overlay $((64 * c)) $((64 * c))
	over
	io "$dev" "write:0:$c:1"	# the table
	io_start "$below"
	io "$dev" "write:$c:$c:1" "write:$((4 * c)):$((3 * c)):1"
	io_end "$below"
	is "$reads" 0 "the number of reads for whole clusters"
	io_start "$below"
	io "$dev" "write:$((8 * c)):512:1"
	io_end "$below"
	is "$reads" 1 "the number of reads for the head of a cluster"
	io_start "$below"
	io_base_below=$io_base
	io_start "$disk"
	io "$dev" "write:$((16 * c + 4096)):4096:1"
	io_end "$disk"
	is "$writes $wsectors" "1 128" "the number of writes, and their sectors"
	io_base=$io_base_below
	io_end "$below"
	is "$reads" 2 "the number of reads for head and tail of a cluster"
	count
	is "$copied" 2 "the number of clusters copied"
	io_start "$below"
	io "$dev" "cmp:$((32 * c)):$c:$raw"
	io_end "$below"
	is "$reads" 1 "the number of reads for a read below"
	count
	is "$reads_below" 1 "the number of reads below, in the status"
}

# Clusters that are copied in pieces
t_large() {
	overlay $((24 * mb)) $((32 * mb)) $((4 * mb)) 2
	over
	both "write:$((3 * mb + 512)):$((mb + 512)):7" "write:$((9 * mb)):512:8" \
		"punch:$((17 * mb)):$((3 * mb))"
	same
	both "write:$((15 * mb)):$((16 * mb)):9"
	same
	judge
}

# Many writes at once, of which most are next to each other
t_parallel() {
	need qemu-img
	base=$tmp/base
	img=$tmp/image.qed
	size=$((32 * mb))
	truncate -s "$size" "$base"
	qemu-img create -q -f qed -b "$base" -F raw -o "cluster_size=$1" "$img" "$size"
	loop "$base" ro
	below=$dev
	attach
	over cache_kib 64
	# zeroes that are not known to be some: each has to be copied
	hammer -t 8 -s 8 -b 32768 "$dev"
	io "$dev" flush
	count
	at_least "$copied" 1 "the number of clusters copied"
	dm_remove q
	sound "$disk"
}

# What cannot be read below fails the write, and changes nothing.
t_read_error() {
	local c=65536 q lower

	overlay $((16 * c)) $((16 * c))
	lower=$below
	linear b "$below"
	below=$dev
	over
	q=$dev
	io "$q" "write:0:$c:1" flush
	dm_swap b "0 $(sectors_of "$below") error"
	io "$q" "!EIO/read:$c:4096:0" "!EIO/write:$((c + 512)):512:7" "write:$((2 * c)):$c:8" \
		"!EIO/punch:$((3 * c + 512)):512" "punch:$((4 * c)):$c"
	dm_swap b "0 $(sectors_of "$below") linear $lower 0"
	io "$twin" "write:0:$c:1" "write:$((2 * c)):$c:8" "punch:$((4 * c)):$c"
	dev=$q
	same
	is "$(status q mode)" rw "the mode"
	# nor does anything have to be checked
	wait_for 20 status_is q needs_check -
	both "write:$((c + 512)):512:7" "punch:$((3 * c + 512)):512"
	same
	judge
}

# Without space for a copy the write waits, and goes on.
t_no_space() {
	local c=65536 q writer

	overlay $((16 * c)) $((16 * c))
	linear l "$disk" $((12 * c / 512))
	disk=$dev
	over
	q=$dev
	# the header, and two tables of 4 clusters: one is left for a copy
	both "write:0:$((2 * c)):1" "write:$((4 * c + 512)):512:6"
	bg "$bin/blk" io "$q" "write:$((5 * c + 512)):512:7"
	writer=$!
	wait_for 20 status_is q mode out_of_space
	dm_swap l "0 $((16 * c / 512)) linear $(tail -n 1 "$tmp/lib/loops") 0"
	dmsetup message "$pre-q" 0 grow
	wait "$writer"
	io "$twin" "write:$((5 * c + 512)):512:7"
	dev=$q
	same
	is "$(status q mode)" rw "the mode"
}

# line MESSAGE OPTION...: refused, for this reason
line() {
	qed_refused q "$disk" "${@:2}"
	matches "$error" "$1" "the error"
}

# Table lines that do not go with the image, or with others
t_refused() {
	overlay $((4 * mb)) $((4 * mb))
	line 'has a backing file: the table needs "backing' read_only
	line 'Backing device is missing' backing
	line 'Cannot open the backing device' backing /dev/none
	line 'More than one backing device' backing "$below" backing "$below"
	line 'Backing device is the image device' backing "$disk"
	truncate -s 8M "$tmp/large"
	loop "$tmp/large" 4096
	line 'Logical blocks of the backing device are too large' backing "$dev"
	truncate -s 8M "$tmp/other"
	image "$tmp/other" $((4 * mb))
	loop "$tmp/other"
	other=$dev
	refuse q "0 8192 qed $other 2 backing $below"
	matches "$error" 'has no backing file, but the table has' "the error"

	# what is below must not be written by somebody else of us, and the other way round
	qed o "$other"
	line 'backing device is in use by another qed mapping' backing "$other"
	dm_remove o
	over
	qed o "$other" read_only
	dm_remove o
	is "$(blk dm table "$pre-q")" \
		"0 8192 qed $(devno "$disk") 4 backing $(devno "$below") commit_interval 3600000" \
		"the table"
}

# devno DEVICE
devno() {
	cat "/sys/class/block/$(basename "$(readlink -f "$1")")/dev"
}

# A header that has changed since the table was loaded decides.
t_changed() {
	overlay $((4 * mb)) $((4 * mb))
	over
	dm_suspend q
	blk poke "$disk" 16 0
	kmsg_mark
	dm_resume q
	matches "$(kmsg)" 'has lost its backing file' "the log"
	io "$dev" "read:0:$((4 * mb)):0"
	dm_remove q
	qed q "$disk"
	dm_suspend q
	blk poke "$disk" 16 5
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'has got a backing file' "the log"
}

t_behind() {
	overlay $((5 * 65536 + 7 * 512)) $((12 * 65536))
	over
	both "write:$((5 * 65536 + 20 * 512)):512:7"
	same
	judge
}

t_mixed() {
	overlay $((5 * 65536 + 7 * 512)) $((12 * 65536))
	unloop "$disk"
	loop "$img" 4096
	disk=$dev
	note "lbs $(blockdev --getss "$disk") $(blockdev --getss "$below")"
	over
	both "write:$((5 * 65536)):4096:7"
	same
	judge
}

t_limits() {
	overlay $((8 * mb)) $((8 * mb))
	modprobe brd rd_nr=1 rd_size=8192
	dd if="$base" of=/dev/ram0 bs=1M status=none
	for below in "$below" /dev/ram0; do
		note "below $below wz $(cat /sys/class/block/$(basename $below)/queue/write_zeroes_max_bytes) disc $(cat /sys/class/block/$(basename $below)/queue/discard_max_bytes)"
		over
		d=$(basename "$(readlink -f "$dev")")
		ls -l $dev; cat /sys/class/block/dm-0/queue/{write_zeroes_max_bytes,discard_max_bytes,fua,write_cache,rotational,nomerges}
		dm_remove q
	done
	fail "see"
}

t_memory() {
	need_target delay
	base=$tmp/base
	img=$tmp/image.qed
	size=$((4096 * mb))
	truncate -s "$size" "$base"
	qemu-img create -q -f qed -b "$base" -F raw -o "cluster_size=$((2 * mb))" "$img" "$size"
	loop "$base" ro
	dmsetup create $pre-d --table "0 $((size / 512)) delay $dev 0 20000"
	below=/dev/mapper/$pre-d
	attach
	over
	grep -E "MemFree|MemAvail" /proc/meminfo | tr '\n' ' '
	python3 - "$dev" <<'X' &
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for i in range(2000):
    os.pwrite(fd, b"x" * 4096, i * 2097152 + 8192)
os.fsync(fd)
X
	for i in 1 2 3 4 5 6; do sleep 1; grep -E "MemFree|MemAvail" /proc/meminfo | tr '\n' ' '; done
	echo
	python3 -c 'b = bytearray(b"x") * (300 << 20); print(len(b))' || note "python: $?"
	dmesg | grep -E "Out of memory|oom-kill|page allocation failure" | head -5
	sync_seen=1
	echo "$(dmsetup status $pre-q)"
	dmesg | tail -n 12
	cat "$tmp/lib/log" >/dev/console 2>&1 || true
	cp "$tmp/lib/log" "${VM_OUT:-/tmp}/memory.log"
	echo o >/proc/sysrq-trigger
	sleep 30
}

t_pieces() {
	overlay $((8 * mb)) $((8 * mb)) $((4 * mb)) 2
	over
	io_start "$disk"
	both "punch:512:$((4 * mb - 512))"
	io_end "$disk"
	note "writes $writes $wsectors"
	same
	io_start "$disk"
	both "write:$((4 * mb + 512)):4096:5"
	io_end "$disk"
	note "writes $writes $wsectors"
	same
	judge
	fail "see"
}

t_fua_read() {
	overlay $((8 * mb)) $((8 * mb))
	over
	fail x
}

run t_pieces "pieces"
