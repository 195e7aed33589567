#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images below an image: each shows where those over it have nothing, and only up to the end of
# each of these; QEMU reads the same, and what is below is not written.

# shellcheck disable=SC2119	# up has options, which few need here
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=chain.sh
. "$(dirname "$0")/chain.sh"

c=65536

# random_images N: so many of them below another one, of several geometries, each with data; every
# second chain has something raw below that
random_images() {
	local sizes=(4096 65536 16384 1048576) specs=() bytes=() i

	RANDOM=$1
	for ((i = 0; i <= $1; i++)); do
		bytes[i]=$((2 * mb + (RANDOM % 6144) * 512))
		specs[i]=${bytes[i]}:${sizes[(i + $1) % 4]}:$((2 << (RANDOM % 3)))
	done
	images $(($1 % 2 * (3 * mb + 512 * 77))) "${specs[@]}"
	for ((i = 0; i <= $1; i++)); do
		scribble "${files[i + $1 % 2]}" "${bytes[i]}" $((100 * $1 + i))
	done
	ready
}

# t_depth N: over so many images
t_depth() {
	local ops file

	random_images "$1"
	up
	same
	count
	is "$depth" $(($1 + $1 % 2)) "the number of devices below"
	random 40 "$1"
	both "${ops[@]}"
	same
	# what was written is read from the image now
	dm_remove q
	up
	same
	judged
	[ "$1" -lt 4 ] || return 0
	# whole clusters: where a part of one is zero for QEMU it may show what is below in the rest
	for file in "$img" "$raw"; do
		qemu "$file" "write -P 77 1M 1M" "write -z 0 1M"
	done
	attach
	up
	same
	random 20 "$1$1"
	both "${ops[@]}"
	same
	judged
}

# t_short [BYTES:CLUSTER:TABLE]: what is longer below a short image does not show. There may be
# another image over that.
t_short() {
	images $((4 * mb)) $((mb + 512)):65536:4 "$@" $((2 * mb)):65536:2
	ready
	io "$twin" "read:$((mb + 512)):$((mb - 512)):0"
	up
	io "$dev" "cmp:0:$((mb + 512)):$tmp/base" "read:$((mb + 512)):$((mb - 512)):0"
	same
	# the cluster in which it ends, and one behind that
	both "write:$((mb + 2048)):512:7" "write:$((mb + 3 * c)):512:8"
	same
	judged
}

# A cluster of which parts are in two images, each in many pieces, and parts nowhere
t_mixed() {
	local i upper=() lower=()

	images 0 $((4 * c)):4096:4 $((4 * c)):4096:4 "$((4 * c)):$1:2"
	for ((i = 0; i < 64; i += 4)); do
		lower+=("write -P $((i + 1)) $((i * 4))k 8k")
		upper+=("write -P $((i + 101)) $((i * 4 + 4))k 4k")
	done
	qemu "${files[0]}" "${lower[@]}"
	qemu "${files[1]}" "${upper[@]}"
	ready
	up
	same
	both "write:512:1024:7" "write:$((c + 3 * 4096 + 512)):512:8" "write:$((3 * c - 512)):1024:9"
	same
	judged
}

# An entry that is zero hides what all images below have, in copies, too.
t_zero() {
	images $((4 * c)) $((4 * c)):65536:4 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[1]}" "write -P 1 0 $((4 * c))"
	qemu "${files[2]}" "write -z $c $c"
	ready
	up
	io "$dev" "read:0:$c:1" "read:$c:$c:0" "read:$((2 * c)):$((2 * c)):1"
	both "write:$((c + 512)):512:7"
	same
	count
	is "$copied" 0 "the number of clusters copied where there are zeroes"
	both "write:$((2 * c + 512)):512:7"
	same
	count
	is "$copied" 1 "the number of clusters copied"
	judged
}

# Where all images have holes new clusters cost what they cost without them.
t_sparse() {
	local end

	images 0 $((16 * c)):65536:4 $((16 * c)):4096:4 $((16 * c)):65536:4
	qemu "${files[0]}" "write -P 1 $((8 * c)) $c" "write -P 1 $((12 * c)) $c"
	end=$(stat -c %s "$img")
	ready
	up zeroed_from $((end / c))
	io "$dev" "write:0:512:9" flush
	io_start "$disk"
	io "$dev" "write:$((2 * c + 512)):512:9" flush
	io_end "$disk"
	is "$flushes" 1 "the number of flushes where there are holes"
	count
	is "$copied/$reads_below" 0/0 "what has been copied, and read"
	io_start "$disk"
	io "$dev" "write:$((8 * c + 512)):512:9" flush
	io_end "$disk"
	is "$flushes" 2 "the number of flushes where there is data"
	io "$dev" "read:$((8 * c)):512:1" "read:$((8 * c + 512)):512:9" \
		"read:$((8 * c + 1024)):$((c - 1024)):1"
	# from one to the other
	io "$dev" "write:$((11 * c)):$((c + 512)):9" "read:$((11 * c)):$((c + 512)):9" \
		"read:$((12 * c + 512)):$((c - 512)):1" "read:$((13 * c)):$c:0"
}

# A read of what is far below is one there, and reads no table again.
t_reads() {
	local lowest

	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $((4 * c))"
	ready
	lowest=$(device 3)
	up
	io "$dev" "read:0:4096:1"
	io_start "$lowest"
	io "$dev" "read:$c:4096:1" "read:$((2 * c)):$((2 * c)):1"
	io_end "$lowest"
	is "$reads" 2 "the number of reads of the lowest image"
	# one that must not wait finds it there, and one that has to read the table does not
	io "$dev" "nowait-read:0:4096:1"
	dm_suspend q
	dm_resume q
	io "$dev" "!EAGAIN/nowait-read:0:4096:1" "read:0:4096:1" "nowait-read:0:4096:1"
}

# another NUMBER: one more image of four clusters over the one of this number; sets $other
another() {
	other=$tmp/other.qed
	qemu-img create -q -f qed -b "${files[$1]}" -F qed "$other" $((4 * c))
	truncate -s 1M "$other"
	loop "$other"
	other=$dev
}

# Two images over the same ones, of which the tables are read once
t_shared() {
	local other first lower

	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $((4 * c))"
	ready
	another 1
	lower=$(device 2)
	up
	first=$dev
	io "$first" "read:0:4096:1"
	io_start "$lower"
	qed o "$other" "${line[@]}"
	io "$dev" "read:0:4096:1" "write:0:512:2" "read:512:512:1"
	io_end "$lower"
	is "$reads" 3 "the number of reads of the header, for a read and a copy"
	io "$first" "read:0:$((4 * c)):1"
	# whoever has loaded them first goes first
	dm_remove q
	io "$dev" "read:512:$((4 * c - 512)):1" "write:$c:512:3" "read:$((c + 512)):512:1"
	up
	io "$dev" "read:0:$((4 * c)):1"
	dm_remove o
	io "$dev" "read:0:$((4 * c)):1"
}

# t_defect WHAT: an entry of an image below is wrong, in its L1 or L2 table
t_defect() {
	local at bad

	images 0 $((8 * c)):65536:4 $((8 * c)):65536:4 $((8 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $((8 * c))"
	qemu "${files[1]}" "write -P 2 $((2 * c)) $c"
	ready
	at=$(entry "${files[0]}" 5)
	bad="$((5 * c)):$c"
	[ "$1" = L2 ] || at=$(blk u64 "${files[0]}" 40)
	blk poke "${files[0]}" "$at" $((1 << 40))
	kmsg_mark
	up
	io "$dev" "read:$((2 * c)):$c:2" "!EIO/read:$bad:1" "!EIO/write:$((5 * c + 512)):512:9"
	[ "$1" = L1 ] || io "$dev" "read:0:$((2 * c)):1" "read:$((6 * c)):$((2 * c)):1"
	matches "$(kmsg)" "layer $(devno "$(device 2)"): .*0x10000000000" "the log"
	is "$(status q mode)" rw "the mode"
	# nothing of it was written, and all of the cluster can be
	io "$dev" "!EIO/read:$bad:1" "write:$bad:9" "read:$bad:9" flush "read:$((2 * c)):$c:2"
	is "$(status q mapped)" 1 "the number of mapped clusters"
	is "$(status q inflight)" 0 "the number of allocating writes"
	dm_remove q
	sound "$disk"
}

# A table below that cannot be read fails what needs it, until it can be.
t_unreadable() {
	local at lowest end upper table

	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $((4 * c))"
	ready
	lowest=$(device 1)
	end=$(sectors_of "$lowest")
	linear b "$lowest"
	line=(layer "$dev")
	up
	upper=$dev
	at=$(($(entry "${files[0]}" 0) / 512))
	table="0 $at linear $lowest 0"$'\n'"$at 8 error"$'\n'
	dm_swap b "$table$((at + 8)) $((end - at - 8)) linear $lowest $((at + 8))"
	io "$upper" "!EIO/read:0:4096:1" "!EIO/write:512:512:2" "write:$c:$c:3"
	is "$(status q mode)" rw "the mode"
	dm_swap b "0 $end linear $lowest 0"
	io "$upper" "read:0:$c:1" "write:512:512:2" "read:512:512:2" "read:1024:$((c - 1024)):1"
}

# No image is below another one while it is written, wherever it is.
t_claims() {
	local i words other upper

	readonly=
	images $((4 * c)) $((4 * c)):65536:4 $((4 * c)):65536:4 $((4 * c)):65536:4
	ready
	for i in 1 2; do
		words=("${line[@]:2 * i}")
		qed o "$(device "$i")" "${words[@]}"
		qed_refused q "$disk" "${line[@]}"
		matches "$error" 'backing device is in use by another qed mapping' "the error"
		dm_remove o
	done
	up
	for i in 1 2; do
		words=("${line[@]:2 * i}")
		qed_refused o "$(device "$i")" "${words[@]}"
		matches "$error" 'device is in use by another qed mapping' "the error"
		qed o "$(device "$i")" "${words[@]}" read_only
		dm_remove o
	done
	dm_remove q
	# nor if its table was loaded before
	truncate -s 1M "$tmp/other"
	image "$tmp/other" $((4 * c))
	loop "$tmp/other"
	other=$dev
	for i in 1 2; do
		qed q "$other"
		upper=$dev
		dm_load q "$(table "$disk" "${line[@]}")"
		qed o "$(device "$i")" "${line[@]:2 * i}"
		kmsg_mark
		refused dm_resume q
		matches "$(kmsg)" 'or a device below it, is in use' "the log"
		dm_remove o
		dm_resume q
		dev=$upper
		same
		dm_remove q
	done
}

# line_refused MESSAGE WORD...: for this reason
line_refused() {
	qed_refused q "$disk" "${@:2}"
	matches "$error" "$1" "the error"
}

# Table lines that do not go with the images
t_refused() {
	local a b raw_base i table many=()

	images $((4 * mb)) $((4 * mb)):65536:4 $((4 * mb)):65536:4 $((4 * mb)):65536:4
	ready
	a=$(device 1)
	b=$(device 2)
	raw_base=$(device 3)
	line_refused 'has a backing file: the table needs "backing" or "layer"' read_only
	line_refused "image $(devno "$a") has a backing file" layer "$a"
	line_refused "image $(devno "$b") has a backing file" layer "$a" layer "$b"
	line_refused 'Layer is missing' layer
	line_refused 'Layer after the backing device' layer "$a" backing "$raw_base" layer "$b"
	line_refused 'Backing device is there twice' layer "$a" layer "$a" backing "$raw_base"
	line_refused 'Backing device is there twice' layer "$a" backing "$a"
	line_refused 'Backing device is the image device' layer "$a" layer "$disk"
	line_refused 'Cannot open the backing device' layer "$a" layer /dev/none
	line_refused '/dev/none: Cannot open' layer "$a" layer /dev/none
	line_refused "layer $(devno "$raw_base"): .*magic" layer "$a" layer "$b" layer "$raw_base"
	for i in {1..65}; do
		many+=(layer "$a")
	done
	line_refused 'Too many layers' "${many[@]}"
	image "$tmp/last" $((4 * mb))
	truncate -s 1M "$tmp/last"
	loop "$tmp/last"
	line_refused "image $(devno "$dev") has no backing file, but the table has $(devno "$b")" \
		layer "$dev" layer "$b" backing "$raw_base"
	: >"$tmp/empty"
	loop "$tmp/empty"
	line_refused 'Backing device has no size' layer "$dev"
	up
	table="0 8192 qed $(devno "$disk") 8 layer $(devno "$a") layer $(devno "$b")"
	table+=" backing $(devno "$raw_base") commit_interval 3600000"
	is "$(blk dm table "$pre-q")" "$table" "the table"
	# which can be loaded again
	dm_load q "$(blk dm table "$pre-q")"
	dm_resume q
	same
}

# An image that ends within a logical block of the one over it
t_odd() {
	images 0 $((mb + 512)):65536:4 $((2 * mb)):65536:4
	ready
	unloop "$disk"
	loop "$img" 4096
	disk=$dev
	line_refused 'ends within a logical block of the image device' "${line[@]}"
}

# Logical blocks of 4096 bytes
t_blocks() {
	images 0 $((mb + 4096)):65536:4 $((2 * mb)):65536:4
	scribble "${files[0]}" $((mb + 4096)) 1
	ready
	loop "${files[0]}" ro 4096
	line_refused 'Logical blocks of the backing device are too large' layer "$dev"
	unloop "$disk"
	loop "$img" 4096
	disk=$dev
	up
	same
	io "$dev" "write:4096:4096:7" "write:$((mb + 8192)):4096:8" "read:4096:4096:7" \
		"cmp:8192:$((mb - 4096)):$raw" "read:$((mb + 8192)):4096:8" \
		"read:$((mb + 12288)):$((mb - 12288)):0"
}

# What headers say below that has changed since the table was loaded
t_changed() {
	local lowest

	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $((4 * c))"
	qemu "${files[1]}" "write -P 2 $c $c"
	ready
	lowest=${files[0]}
	up
	io "$dev" "read:0:$c:1" "read:$c:$c:2"
	dm_suspend q
	blk poke "${files[1]}" 16 0
	dm_resume q
	io "$dev" "read:0:$c:0" "read:$c:$c:2"
	# a table line that is new goes by what they say now, as the one does that is told
	dm_suspend q
	dm_load q "$(blk dm table "$pre-q")"
	dm_load q "$(table "$disk" layer "$(device 1)")"
	dm_resume q
	io "$dev" "read:0:$c:0" "read:$c:$c:2"
	dm_suspend q
	blk poke "${files[1]}" 16 1
	refused dm_load q "$(table "$disk" layer "$(device 1)")"
	dm_load q "$(table "$disk" "${line[@]}")"
	blk poke "$lowest" 16 1
	blk poke "$lowest" 56 $(((1 << 32) + 100))
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'has got a backing file, and the table has none' "the log"
	blk poke "$lowest" 16 0
	blk poke "$lowest" 48 $((3 * c))
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'is shorter than when the table was loaded' "the log"
	blk poke "$lowest" 48 $((4 * c))
	dm_resume q
	io "$dev" "read:0:$c:1" "read:$c:$c:2"
}

# What is below a device that could not be closed is not kept with it: somebody may have written there.
t_kept() {
	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $c"
	ready
	linear l "$disk"
	qed q "$dev" "${line[@]}" commit_interval 3600000
	io "$dev" "read:0:$c:1" "read:$((2 * c)):$c:0" "write:$((3 * c)):$c:3"
	dm_swap l "0 $(sectors_of "$disk") error"
	dm_suspend q
	dm_swap l "0 $(sectors_of "$disk") linear $disk 0"
	is "$(status q mode)" ro "the mode"
	qemu "${files[0]}" "write -P 9 $((2 * c)) $c"
	losetup -c "$(device 1)"
	dm_resume q
	io "$dev" "read:0:$c:1" "read:$((2 * c)):$c:9"
}

# kept: over an image that has data in its first two clusters, the device of which has failed, and is
# suspended: then somebody makes the second of them zero. Sets $disk.
kept() {
	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $c" "write -P 2 $c $c"
	ready
	null a 4
	disk=$dev
	dd if="$img" of="$disk" bs=64k count=9 conv=notrunc oflag=direct status=none
	up
	io "$dev" "read:0:$c:1" "read:$c:$c:2"
	# the L1 table
	null_bad a +128-135
	io "$dev" "write:$((3 * c)):512:9" "!EIO/flush"
	is "$(status q mode)" ro "the mode"
	dm_suspend q
	null_bad a -128-135
	blk poke "${files[0]}" "$(entry "${files[0]}" 1)" 1
}

# What a layer has changed meanwhile a new table has to see ...
t_kept_table() {
	kept
	qed_reload q "$disk" "${line[@]}"
	io "$dev" "read:0:$c:1" "read:$c:$c:0"
}

# ... and another device, which was never over it before
t_kept_other() {
	kept
	truncate -s 4M "$img"
	loop "$img"
	qed o "$dev" "${line[@]}"
	io "$dev" "read:0:$c:1" "read:$c:$c:0"
}

# writable: an image below has one cluster, and room and leave to get more
writable() {
	readonly=
	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4
	qemu "${files[0]}" "write -P 1 0 $c"
	truncate -s 1M "${files[0]}"
	ready
}

# What somebody of this host writes to by another path is not below others.
t_paths() {
	writable
	loop "${files[0]}"
	qed o "$dev"
	qed_refused q "$disk" "${line[@]}"
	matches "$error" 'in use on this host, by another path' "the error"
	# also if somebody has cleared its bit
	no_record "${files[0]}"
	qed_refused q "$disk" "${line[@]}"
	matches "$error" 'in use on this host, by another path' "the error"
	dm_remove o
	up
	io "$dev" "read:0:$c:1"
}

# What somebody writes to by another path, though others read it already, no one more is to read: the
# tables are those from before.
t_written() {
	local other

	writable
	another 0
	up
	io "$dev" "read:0:$c:1"
	loop "${files[0]}"
	qed o "$dev"
	io "$dev" "write:0:$c:2" "write:$c:$c:3" flush
	qed_refused p "$other" "${line[@]}"
	matches "$error" 'layer .*: somebody else has written the header' "the error"
	# also when he has gone
	dm_remove o
	qed_refused p "$other" "${line[@]}"
	matches "$error" 'layer .*: somebody else has written the header' "the error"
	# until it is read anew
	dm_remove q
	qed p "$other" "${line[@]}"
	io "$dev" "read:0:$c:2" "read:$c:$c:3"
	up
	io "$dev" "read:0:$c:2" "read:$c:$c:3"
}

# A snapshot of a device that could not be closed: its image is below the one that comes then.
t_kept_snapshot() {
	local old

	writable
	old=$(device 1)
	linear l "$old"
	qed q "$dev" commit_interval 3600000
	io "$dev" "read:0:$c:1"
	# its record is there, and cannot be changed
	io "$dev" "write:$c:$c:2" flush "write:$((2 * c)):$c:3"
	dm_swap l "0 $(sectors_of "$old") error"
	dm_suspend q
	is "$(status q mode)" ro "the mode"
	dm_swap l "0 $(sectors_of "$old") linear $old 0"
	dm_load q "$(table "$disk" layer "$old")"
	dm_resume q
	io "$dev" "read:0:$c:1" "read:$c:$c:2"
}

# What is read of an image that was left by a crash is durable before something follows from it.
t_flushed() {
	readonly=
	images 0 $((4 * c)):65536:4 $((4 * c)):65536:4
	ready
	blk poke "${files[0]}" 16 2
	io_start "$(device 1)"
	up
	io_end "$(device 1)"
	at_least "$flushes" 1 "the number of flushes"
}

# The image of a device becomes one below a new image, while it is in use, and back again.
t_snapshot() {
	local top=$tmp/top.qed newest

	readonly=
	images $((4 * mb)) $((4 * mb)):65536:4
	ready
	up
	both "write:$mb:$mb:7" "write:512:512:8"
	qemu-img create -q -u -f qed -b "$img" -F qed -o cluster_size=16384 "$top" $((4 * mb))
	truncate -s 16M "$top"
	newest=$(
		loop "$top"
		echo "$dev"
	)
	qed_reload q "$newest" layer "$disk" "${line[@]}"
	same
	sum=$(md5sum <"$img")
	both "write:$((mb + 512)):512:9" "punch:$((2 * mb)):$c"
	same
	io "$dev" flush
	is "$(md5sum <"$img")" "$sum" "the sum of the image below"
	# without what has been written since
	qed_reload q "$disk" "${line[@]}"
	io "$dev" "read:$mb:$mb:7" "read:512:512:8" "cmp:$((3 * mb)):$mb:$raw"
	io "$dev" "write:$((3 * mb)):4096:5"
}

# Many writes at once over images without a cluster of their own
t_parallel() {
	images 0 $((32 * mb)):4096:4 $((32 * mb)):1048576:2 "$((32 * mb)):$1:4"
	qemu "${files[0]}" "write -P 0 0 16M"
	ready
	up cache_kib 64
	hammer -t 8 -s "$(often 5 20)" -b 32768 "$dev"
	io "$dev" flush
	count
	at_least "$copied" 1 "the number of clusters copied"
	dm_remove q
	sound "$disk"
}

# As deep as it may be: each image has one cluster
t_deepest() {
	local n=64 i

	need qemu-img
	python3 - "$tmp" "$n" <<-'EOF'
		import struct, sys
		folder, n = sys.argv[1], int(sys.argv[2])
		for i in range(n + 1):
		    name = f"{folder}/image{i - 1}.qed".encode() if i else b""
		    head = struct.pack("<4s3I5Q2I", b"QED\0", 4096, 2, 1, 1 if i else 0, 0, 0, 4096,
		                       80 * 4096, 64, len(name)) + name
		    l2 = [0] * 1024
		    l2[i] = 5 * 4096
		    with open(f"{folder}/image{i}.qed", "wb") as f:
		        f.write(head.ljust(4096, b"\0"))
		        f.write(struct.pack("<Q", 3 * 4096).ljust(2 * 4096, b"\0"))
		        f.write(struct.pack("<1024Q", *l2))
		        f.write(bytes([i + 1]) * 4096)
	EOF
	files=()
	format=()
	for ((i = 0; i <= n; i++)); do
		files+=("$tmp/image$i.qed")
		format+=(qed)
	done
	img=$tmp/image$n.qed
	size=$((80 * 4096))
	ready
	up
	count
	is "$depth" "$n" "the number of devices below"
	same
	for ((i = 0; i <= n; i++)); do
		io "$dev" "read:$((i * 4096)):4096:$((i + 1))"
	done
	both "write:512:512:99" "write:$((63 * 4096 + 512)):1024:98" "punch:8192:4096"
	same
	judged
}

# devno DEVICE
devno() {
	cat "/sys/class/block/$(basename "$(readlink -f "$1")")/dev"
}

# Other depths have other geometries, too
more=()
if [ -n "${LONG:-}" ]; then
	more=("t_depth 4" "over four" "t_depth 6" "over six" "t_depth 7" "over seven")
fi

run "t_depth 1" "over one image, in turns with QEMU" \
	"t_depth 2" "over two, likewise" \
	"t_depth 3" "over three, likewise" \
	"t_depth 5" "over five" \
	"t_depth 8" "over eight" \
	${more[@]+"${more[@]}"} \
	t_deepest "over 64" \
	t_short "a short image hides what is longer below it" \
	"t_short 2097152:4096:2" "so it does below another one" \
	"t_mixed 65536" "a copy from many places" \
	"t_mixed 4194304" "a copy from many places in pieces" \
	t_zero "an entry that is zero hides what is below" \
	"counts t_sparse" "holes in all images" \
	t_reads "reads of what is far below" \
	t_shared "two images over the same ones" \
	"t_defect L2" "a wrong entry of an L2 table below" \
	"t_defect L1" "a wrong entry of an L1 table below" \
	t_unreadable "a table below that cannot be read" \
	t_claims "images that are written are not below others" \
	t_refused "what does not go together is refused" \
	t_odd "an image that ends within a logical block" \
	t_blocks "large logical blocks" \
	t_changed "headers below that have changed" \
	t_kept "what is below an image that could not be closed" \
	t_kept_table "... seen by its next table" \
	t_kept_other "... and by another device" \
	t_kept_snapshot "an image of which the last table could not be closed" \
	t_paths "an image that is written by another path" \
	t_written "... when others are over it already" \
	t_flushed "an image below that was left by a crash" \
	t_snapshot "an image that becomes one below another" \
	"t_parallel 4096" "many writes at once, 4 KiB clusters" \
	"t_parallel 65536" "many writes at once, 64 KiB clusters"
