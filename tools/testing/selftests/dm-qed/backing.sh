#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images with a backing file: what is below shows where the image has no cluster, and only there;
# QEMU reads the same.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

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
	local c=65536 file i ops=()

	need qemu-io
	overlay $((16 * 65536)) $((16 * 65536))
	detach
	for i in 1 4 7 10; do
		for file in "qed $img" "raw $raw"; do
			qemu-io -f "${file%% *}" -c "write -z $((i * 64))k 64k" \
				-c "write -P 9 $((i * 64 + 64))k 64k" "${file#* }" >"$tmp/qemu-io.log"
		done
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

	overlay "$end" $((12 * 65536 + 512))
	over
	same
	both "write:$((5 * 65536 + 512)):512:7" "write:$((12 * 65536)):512:8"
	same
	count
	is "$copied" 1 "the number of clusters copied"
	# behind the end, in the cluster in which it ends
	dm_remove q
	overlay "$end" $((12 * 65536 + 512))
	over
	both "write:$((5 * 65536 + 20 * 512)):512:6"
	same
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

# Many writes at once, of which most are next to each other
t_parallel() {
	local inflight

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
	read -ra inflight <"/sys/class/block/$(basename "$(readlink -f "$dev")")/inflight"
	is "${inflight[*]}" "0 0" "the numbers of reads and writes that count as under way"
	dm_remove q
	sound "$disk"
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
	truncate -s $((8 * mb + 512)) "$tmp/odd"
	loop "$tmp/odd"
	odd=$dev
	cp --sparse=always "$img" "$tmp/blocks"
	loop "$tmp/blocks" 4096
	refuse q "0 8192 qed $dev 2 backing $odd"
	matches "$error" 'ends within a logical block of the image device' "the error"
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
	# the line is one that can be loaded
	is "$(blk dm table "$pre-q")" "0 8192 qed $(devno "$disk") 2 commit_interval 3600000" \
		"the table"
	dm_remove q
	qed q "$disk"
	dm_suspend q
	blk poke "$disk" 16 5
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'has got a backing file' "the log"
}

# lay_over_below: with a layer b, as $below, over what is below, $lower
lay_over_below() {
	lower=$below
	linear b "$lower"
	below=$dev
}

# What is below has to be there, and as long as it was: otherwise it would read as zeroes, which would
# be copied.
t_shrunk() {
	local q lower size_below=$((4 * mb / 512))

	overlay $((4 * mb)) $((4 * mb))
	: >"$tmp/empty"
	loop "$tmp/empty"
	refuse q "0 8192 qed $disk 2 backing $dev"
	matches "$error" 'Backing device has no size' "the error"
	lay_over_below
	over
	q=$dev
	dm_suspend q
	dm_swap b "0 $((size_below / 2)) linear $lower 0"
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'is shorter than when the table was loaded' "the log"
	is "$(status q mode)" fail "the mode"
	dm_swap b "0 $size_below linear $lower 0"
	dm_resume q
	dev=$q
	same
	# a new table takes it as it is
	dm_suspend q
	dm_swap b "0 $((size_below / 2)) linear $lower 0"
	qed_reload q "$disk" backing "$below"
	dev=$q
	io "$dev" "cmp:0:$((2 * mb)):$raw" "read:$((2 * mb)):$((2 * mb)):0"
}

# It becomes shorter while the image is loaded: what is missing is not taken for zeroes.
t_shrinks() {
	local pid lower half=$((2 * mb / 512))

	need_target delay
	overlay $((4 * mb)) $((4 * mb))
	lay_over_below
	# all but the header takes its time
	dm l "0 128 linear $disk 0"$'\n'"128 $(($(sectors_of "$disk") - 128)) delay $disk 128 3000 $disk 128 0"
	disk=$dev
	dm q "0 $((2 * half)) error"
	q=$dev
	dm_load q "$(table "$disk" backing "$below")"
	bg "$bin/blk" dm resume "$pre-q"
	pid=$!
	sleep 1
	kill -0 "$pid" || fail "too late: it is loaded"
	dm_swap b "0 $half linear $lower 0"
	if wait "$pid"; then
		io "$q" "cmp:0:$((2 * mb)):$raw" "!EIO/read:$((2 * mb)):512" \
			"!EIO/write:$((2 * mb + 512)):512:7"
	else
		is "$(status q mode)" fail "the mode"
	fi
}

# ... and after the header has had no backing file for a while
t_regained() {
	local q lower features size_below=$((4 * mb / 512))

	overlay $((4 * mb)) $((4 * mb))
	lay_over_below
	over
	q=$dev
	dm_suspend q
	features=$(blk u64 "$disk" 16)
	blk poke "$disk" 16 0
	dm_resume q
	dm_suspend q
	blk poke "$disk" 16 "$features"
	dm_swap b "0 $((size_below / 2)) linear $lower 0"
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'is shorter than when the table was loaded' "the log"
	dm_swap b "0 $size_below linear $lower 0"
	dm_resume q
	dev=$q
	same
}

# The name of the backing file is where a record would be: then NEED_CHECK alone tells that somebody
# else has had the image.
t_bare() {
	local i

	overlay $((4 * mb)) $((4 * mb))
	printf %s "$base" | dd of="$disk" bs=1 seek=400 conv=notrunc status=none
	blk poke "$disk" 56 $((400 | ${#base} << 32))
	over
	is "$(blk u64 "$disk" 32)" 0 "the autoclear bits"
	io "$dev" "write:0:512:7" flush
	kmsg_mark
	is_dirty "$disk"
	blk poke "$disk" 16 5
	is_clean "$disk"
	for ((i = 1; i < 60; i++)); do
		io "$dev" "write:$((i * 65536)):512:7" flush
		! is_dirty "$disk" || break
		sleep 0.3
	done
	is_dirty "$disk"
	matches "$(kmsg)" 'somebody else has cleared NEED_CHECK' "the log"
	is "$(status q mode)" rw "the mode"
}

# An image that ends within a block: what is below, and longer, does not get behind its end.
t_behind() {
	local first=$((3 * 65536)) end=$((3 * 65536 + 4096 + 512))

	overlay $((8 * 65536)) "$end"
	unloop "$disk"
	unloop "$below"
	loop "$base" ro 4096
	below=$dev
	truncate -s "$((128 * mb))" "$img"
	loop "$img" 4096
	disk=$dev
	dm q "0 $(((first + 4096) / 512)) qed $disk 2 backing $below"
	io "$dev" "write:$first:4096:7" flush
	dm_remove q
	detach
	qemu-img rebase -u -f qed -b "" "$img"
	qemu-img resize -q -f qed "$img" $((4 * 65536))
	qemu-io -r -f qed -c "read -P 7 $first 4096" \
		-c "read -P 0 $end $((4 * 65536 - end))" "$img" >"$tmp/qemu-io.log"
	! grep -q failed "$tmp/qemu-io.log" || fail "what is below has got behind the end"
}

# What the guest has written to a raw disk before a snapshot, and flushes after it, survives a power cut.
t_snapshot() {
	local old

	overlay $((4 * mb)) $((4 * mb))
	null a 4 cache_size=1
	old=$dev
	linear q "$old"
	io "$dev" "write:0:$mb:7"
	dm_load q "$(table "$disk" backing "$old")"
	dm_resume q
	io "$dev" "read:0:$mb:7" "write:0:512:8" flush
	dm_remove q
	null_off a
	null_on a
	qed q "$disk" backing "$dev"
	io "$dev" "read:0:512:8" "read:512:$((mb - 512)):7"
}

run "t_turns 3000320 4194304 65536 4" "in turns with QEMU, 64 KiB clusters" \
	"t_turns 4194304 3001856 4096 2" "in turns with QEMU, 4 KiB clusters, a longer base" \
	"t_turns 2500096 6291456 1048576 2" "in turns with QEMU, 1 MiB clusters" \
	t_states "each state of a cluster" \
	t_end "a backing file that ends within a cluster" \
	t_longer "one that is longer than the image" \
	t_resize "an image that becomes larger" \
	t_discard "discards" \
	t_zeroes "zeroes over what is below" \
	"t_parallel 65536" "many writes at once" \
	"t_parallel 4096" "many writes at once, 4 KiB clusters" \
	t_refused "what does not go together is refused" \
	t_changed "a header that has changed" \
	t_shrunk "a backing device that is not there, or has become shorter" \
	t_shrinks "... that becomes shorter while the image is loaded" \
	t_regained "... or while there was no backing file" \
	t_snapshot "a raw disk in use becomes one below an image" \
	t_bare "an image without room for a record" \
	t_behind "an image that ends within a block of what is below"
