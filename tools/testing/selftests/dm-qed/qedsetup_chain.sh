#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qedsetup(8) with images over others: what is below is found, locked and shared.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=setup.sh
. "$(dirname "$0")/setup.sh"

t_overlay() {
	local other=$pre-b

	files
	dd if=/dev/urandom of="$dir/base" bs=1M count=8 status=none
	mkdir "$dir/d"
	image=$dir/d/a.qed
	"$QEDSETUP" create -b ../base -F raw "$image"
	"$QEDSETUP" create -b ../base -F raw "$dir/d/b.qed"
	# who uses it as well, but without locks, does not count
	mkfs.ext4 -q -E nodiscard "$dir/base"
	cp "$dir/base" "$tmp/base"
	mkdir "$tmp/on"
	mount -o loop,ro "$dir/base" "$tmp/on"
	setup_open
	is "$(loops "$dir/base")" 2 "the number of loop devices over the base"
	umount "$tmp/on"
	wait_for 10 has_loops "$dir/base" 1
	cmp "$dev" "$tmp/base"
	"$QEDSETUP" open "$dir/d/b.qed" "$other"
	is "$(loops "$dir/base")" 1 "the number of loop devices over the base"
	locked qemu-img resize -f raw "$dir/base" 16M
	qemu-img info "$dir/base" >/dev/null
	io "$dev" "write:4096:4096:7"
	json status "$name"
	matches "$json" '"below":\[\{"path":"'"$dir/base"'".*"format":"raw"\}\]' below
	setup_close
	is "$(loops "$dir/base")" 1 "the number of loop devices over the base"
	"$QEDSETUP" close "$other"
	is "$(loops "$dir/base")" 0 "the number of loop devices over the base"
	cmp "$dir/base" "$tmp/base"
	closed
	truncate -s 8388700 "$dir/base"
	setup_says 4 "not a multiple of 512" open "$image" "$name"
	closed
}

# three: what is raw, and two images over it, in two folders; $image is to be over them
three() {
	files
	mkdir "$dir/d"
	dd if=/dev/urandom of="$dir/base" bs=1M count=8 status=none
	"$QEDSETUP" create -b base -F raw "$dir/low.qed"
	"$QEDSETUP" create -b ../low.qed "$dir/d/mid.qed" 12M
	image=$dir/d/a.qed
	"$QEDSETUP" create -b mid.qed "$image" 16M
	qemu-io -f qed -c "write -P 1 1M 3M" "$dir/low.qed" >/dev/null
	qemu-io -f qed -c "write -P 2 2M 1M" -c "write -z 5M 1M" "$dir/d/mid.qed" >/dev/null
	qemu-io -f qed -c "write -P 3 2500k 4k" -c "write -P 4 13M 64k" "$image" >/dev/null
	below=("$dir/d/mid.qed" "$dir/low.qed" "$dir/base")
	sums=$(md5sum "${below[@]}")
	qemu-img convert -f qed -O raw "$image" "$tmp/raw"
}

# over_each NR: the number of loop devices over each of the images below
over_each() {
	local file

	for file in "${below[@]}"; do
		wait_for 10 has_loops "$file" "$1"
	done
}

t_chain() {
	local other=$pre-b file

	three
	setup_open
	cmp "$dev" "$tmp/raw"
	over_each 1
	json status "$name"
	matches "$json" '"below":\[\{"path":"'"${below[0]}"'".*"direct-io":true,"format":"qed"\},\{' \
		"what is below"
	matches "$json" "${below[1]}"'".*"format":"qed"\},\{.*'"${below[2]}"'".*"format":"raw"\}\]' \
		"what is below"
	is "$("$QEDSETUP" list -n --raw -o NAME,BACKING,DEPTH)" "$name ${below[0]} 3" list
	json list
	matches "$json" '"below":\["'"${below[0]}"'","'"${below[1]}"'","'"${below[2]}"'"\]' list
	json info --chain "$image"
	"$QEDSETUP" create -b mid.qed "$dir/d/b.qed"
	"$QEDSETUP" open "$dir/d/b.qed" "$other"
	over_each 1
	for file in "${below[@]:0:2}"; do
		qemu-img info "$file" >/dev/null
		locked qemu-io -f qed -c "write 0 4k" "$file"
		setup_says 5 "in use by device" open "$file" "$pre-c"
	done
	"$QEDSETUP" open --readonly "${below[0]}" "$pre-c"
	over_each 1
	"$QEDSETUP" close "$pre-c"
	io "$dev" "write:0:$((3 * mb)):9" "write:$((5 * mb)):4096:9" flush
	io "/dev/mapper/$other" "read:$((2 * mb)):4096:2" "read:$((5 * mb)):$mb:0"
	"$QEDSETUP" resize "$name" 32M
	io "$dev" "read:$((31 * mb)):$mb:0" "read:0:$((3 * mb)):9"
	setup_close
	closed
	over_each 1
	"$QEDSETUP" close "$other"
	over_each 0
	is "$(md5sum "${below[@]}")" "$sums" "the sums of what is below"
	qemu-io -f qed -c "read -P 9 0 3M" -c "read -P 0 5124k 1020k" "$image" >/dev/null
}

# lone: an image over nothing
lone() {
	"$QEDSETUP" create --force "$dir/lone.qed" 1M
	echo "$dir/lone.qed"
}

t_chain_refused() {
	three
	# who writes to one of them
	"$QEDSETUP" open "$dir/low.qed" "$pre-low"
	setup_says 5 "low.qed: is in use by device $pre-low" open "$image" "$name"
	"$QEDSETUP" close "$pre-low"
	over_each 0
	mv "$dir/low.qed" "$dir/moved.qed"
	setup_says 1 "$dir/d/../low.qed: cannot be opened: No such file" open "$image" "$name"
	mv "$dir/d/mid.qed" "$dir/mid.qed"
	setup_says 1 "$dir/d/mid.qed: cannot be opened: No such file" open "$image" "$name"
	setup_says 1 "low.qed: cannot be opened" open -b "$dir/mid.qed" "$image" "$name"
	setup_says 4 "not a QED image" open -b "$dir/base" "$image" "$name"
	setup_says 1 "has no backing file: without --backing" open -b "$dir/base" \
		"$(lone)" "$name"
	# the header tells where to look next
	mv "$dir/moved.qed" "$dir/low.qed"
	mkdir "$dir/e"
	mv "$dir/mid.qed" "$dir/e/mid.qed"
	setup_open -b "$dir/e/mid.qed"
	cmp "$dev" "$tmp/raw"
	setup_close
	closed
	# left by a crash: used as it is, with a warning
	blk poke "$dir/e/mid.qed" 16 3
	setup_open -b "$dir/e/mid.qed" 2>"$tmp/warned"
	matches "$(cat "$tmp/warned")" "e/mid.qed: was in use when its host crashed" "the warning"
	setup_close
	blk poke "$dir/e/mid.qed" 40 12345
	setup_says 4 "e/mid.qed: its header has defects" open -b "$dir/e/mid.qed" "$image" "$name"
	unused
}

# As many as there can be
t_chain_deep() {
	local i

	files
	dd if=/dev/urandom of="$dir/00" bs=1M count=1 status=none
	"$QEDSETUP" create -b 00 -F raw "$dir/01"
	"$QEDSETUP" create -b 01 "$dir/02"
	for ((i = 3; i <= 64; i++)); do
		image=$dir/$(printf %02d "$i")
		cp "$dir/02" "$image"
		# the name is behind the header
		printf %02d $((i - 1)) | dd of="$image" bs=1 seek=64 conv=notrunc status=none
	done
	setup_open
	cmp "$dev" "$dir/00"
	is "$("$QEDSETUP" list -n --raw -o DEPTH)" 64 "the depth"
	json status "$name"
	setup_close
	closed
	wait_for 10 has_loops "$dir/01" 0
}

t_chain_block() {
	local low top

	null low 32
	low=$dev
	null top 32
	top=$dev
	"$QEDSETUP" create "$low" 8M
	"$QEDSETUP" open "$low" "$pre-low"
	io "/dev/mapper/$pre-low" "write:0:$mb:5" flush
	setup_says 5 "in use by device $pre-low" create -b "$low" "$top"
	"$QEDSETUP" close "$pre-low"
	"$QEDSETUP" create -b "$low" "$top"
	image=$top
	name=$pre-a
	setup_open
	io "$dev" "read:0:$mb:5" "write:4096:4096:6" "read:0:4096:5" "read:4096:4096:6"
	setup_says 5 "in use by device $name" open "$low" "$pre-low"
	setup_close
	unused
}

run \
	t_overlay "a raw base, for two overlays" \
	t_chain "images over images over a raw base" \
	t_chain_refused "images that cannot be below, and where else they may be" \
	t_chain_deep "sixty-four images below" \
	t_chain_block "an image over another one, on block devices"
