#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qedsetup(8) snapshot: a disk in use goes on in a new image, and what is below that is what the
# disk had at that moment. What fails leaves all as it was. Killed at each call: snapshot_killed.

# shellcheck disable=SC2016	# what virsh is to do is for its own shell
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=setup.sh
. "$(dirname "$0")/setup.sh"
# shellcheck source=snapshots.sh
. "$(dirname "$0")/snapshots.sh"

t_snapshot() {
	local n hammer

	files
	made 64M
	bg "$bin/hammer" -f "$tmp/versions" -t 2 -G 0 -s 100000 -F 10 -D 5 -r 20 -b 16384 \
		-o $((8 * mb)) -l $((48 * mb)) "$dev"
	hammer=$!
	stamp "$dev"
	for n in 1 2 3 4 5; do
		take "$dir/$n.qed"
		matches "$json" '"image":"'"$dir/$n.qed"'"' snapshot
		is "$(loops "$dir/$n.qed")" 1 "the number of loop devices over the new image"
	done
	json status "$name"
	matches "$json" '"image":\{"path":"'"$dir/5.qed" status
	stamped
	kill -TERM "$hammer"
	wait "$hammer"
	hammer -v -f "$tmp/versions" -t 2 -o $((8 * mb)) -l $((48 * mb)) "$dev"
	setup_close
	for n in a 1 2 3 4; do
		layer_is "$dir/$n.qed"
	done
	# whoever opens the first image gets the last one
	setup_open
	is "$(image_now)" "$dir/5.qed" "the image"
	stamps check "$written" "$written" "$dev" >/dev/null
	hammer -v -f "$tmp/versions" -t 2 -o $((8 * mb)) -l $((48 * mb)) "$dev"
	io "$dev" "write:$((60 * mb)):$mb:9" flush
	image=$dir/5.qed
	setup_close
	closed
	qemu-img convert -f qed -O raw "$image" "$dir/raw"
	stamps check "$written" "$written" "$dir/raw" >/dev/null
}

t_block() {
	local first second third

	null b 64
	first=$dev
	null c 64
	second=$dev
	null d 64
	third=$dev
	garbage "$third" 4
	image=$first
	name=$pre-a
	made 32M
	stamp "$dev"
	take "$second"
	is "$(loops "$first")" 0 "the number of loop devices that keep locks of the old image"
	is "$(loops "$second")" 1 "the same of the new one"
	take "$third" --zero
	at_least "$(status a zeroed)" 1 "the clusters that are known to be zero"
	stamped
	setup_close
	layer_is "$first"
	layer_is "$second"
	setup_open
	is "$(image_now)" "$third" "the image"
	stamps check "$written" "$written" "$dev" >/dev/null
	setup_close
	is "$(loops "$third")" 0 "the number of loop devices that keep locks"
}

# What all disks of a group have is a moment of all of them together.
t_group() {
	local n nr names=() devs=() args

	files
	for n in 0 1 2; do
		"$QEDSETUP" create "$dir/$n.0" 32M
		"$QEDSETUP" open "$dir/$n.0" "$pre-$n"
		names+=("$pre-$n")
		devs+=("/dev/mapper/$pre-$n")
	done
	stamp "${devs[@]}"
	for nr in 1 2 3 4; do
		args=()
		for n in 0 1 2; do
			args+=("${names[n]}" "$dir/$n.$nr")
		done
		took "$nr" json snapshot "${args[@]}"
	done
	stamped
	for n in 0 1 2; do
		"$QEDSETUP" close "${names[n]}"
	done
	for nr in 0 1 2 3; do
		for n in 0 1 2; do
			"$QEDSETUP" open --readonly "$dir/$n.$nr" "${names[n]}"
		done
		read -r least most <"$tmp/limits.$((nr + 1))"
		stamps check "$least" "$most" "${devs[@]}"
		for n in 0 1 2; do
			"$QEDSETUP" close "${names[n]}"
		done
	done
}

# What is below may be read by QEMU, and by others, at once, and stays as it is.
t_shared() {
	files
	made 32M
	io "$dev" "write:0:$mb:1"
	take "$dir/b.qed"
	io "$dev" "write:0:65536:2" flush
	qemu-io -r -f qed -c "read -P 1 0 1M" "$image"
	refused qemu-io -f qed -c "write 0 512" "$image"
	refused qemu-img info "$dir/b.qed"
	"$QEDSETUP" create -b a.qed "$dir/c.qed"
	"$QEDSETUP" open "$dir/c.qed" "$pre-c"
	io "/dev/mapper/$pre-c" "read:0:$mb:1" "write:0:$mb:3"
	is "$(loops "$image")" 1 "the number of loop devices over what both are over"
	io "$dev" "read:0:65536:2" "read:65536:$((mb - 65536)):1"
	"$QEDSETUP" close "$pre-c"
	setup_close
	is "$(loops "$image")" 0 "the number of loop devices"
}

t_revert() {
	files
	made 32M
	io "$dev" "write:0:$mb:1"
	take "$dir/b.qed"
	io "$dev" "write:0:$mb:2"
	take "$dir/c.qed"
	io "$dev" "write:0:$mb:3"
	setup_says 1 "is not over it" snapshot --revert "$dir/c.qed" "$name" "$dir/d.qed"
	exec 9<"$dev"
	setup_says 5 "is in use" snapshot --revert "$image" "$name" "$dir/d.qed"
	exec 9<&-
	take "$dir/d.qed" --revert "$dir/b.qed"
	io "$dev" "read:0:$mb:2" "write:0:65536:4" flush
	take "$dir/e.qed" --revert "$image"
	io "$dev" "read:0:$mb:1" "write:0:65536:5" flush
	setup_close
	for n in a b c d; do
		qemu-img check -q -f qed "$dir/$n.qed"
		setup_open
		is "$(image_now)" "$dir/e.qed" "the image"
		io "$dev" "read:0:65536:5" "read:65536:$((mb - 65536)):1"
		image=$dir/$n.qed
		setup_close
	done
	# what was left is there still
	"$QEDSETUP" open --readonly "$dir/c.qed" "$name"
	io "$dev" "read:0:$mb:3"
	setup_close
}

# An image that goes on in another one is not written to, unless that is asked for.
t_frozen() {
	files
	made 32M
	io "$dev" "write:0:$mb:1"
	take "$dir/b.qed"
	io "$dev" "write:0:$mb:2"
	setup_close
	mv "$dir/b.qed" "$dir/c.qed"
	setup_says 1 "goes on in $dir/b.qed since a snapshot: No such file" open "$image" "$name"
	"$QEDSETUP" create -b a.qed "$dir/b.qed"
	setup_says 1 "that is another one" open "$image" "$name"
	"$QEDSETUP" open --readonly "$image" "$name"
	io "$dev" "read:0:$mb:1"
	setup_close
	mv "$dir/c.qed" "$dir/b.qed"
	setup_open --frozen
	is "$(image_now)" "$image" "the image"
	setup_close
	# from then on it goes on in itself
	setup_open
	is "$(image_now)" "$image" "the image"
	setup_close
	closed
}

# Options of the table stay, and what counts clusters has the same size.
t_options() {
	files
	"$QEDSETUP" create --cluster-size 1M "$image" 32M
	setup_open --low-water 4M --commit-interval 50 --no-discard-passdown --cache 1M \
		--sector-size 4096
	take "$dir/b.qed"
	blk dm table "$name" >"$tmp/table"
	matches "$(cat "$tmp/table")" 'cache_kib 1024.*commit_interval 50' table
	matches "$(cat "$tmp/table")" 'no_discard_passdown' table
	matches "$(cat "$tmp/table")" 'low_water 256' table
	is "$(blockdev --getss "$dev")" 4096 "the size of a sector"
	setup_close
}

#
# Failures
#

t_refused() {
	files
	made 32M
	io "$dev" "write:0:$mb:1"
	stamp "$dev"
	as_it_is
	fails 1 "an image for each device" snapshot "$name" "$dir/b.qed" "$name"
	fails 1 "is there twice" snapshot "$name" "$dir/b.qed" "$name" "$dir/c.qed"
	fails 4 "is not active" snapshot "$name" "$dir/b.qed" "$pre-none" "$dir/c.qed"
	fails 1 "no such file" snapshot "$name" "$dir/none/b.qed"
	echo precious >"$dir/b.qed"
	as_it_is
	fails 5 "there is such a file" snapshot "$name" "$dir/b.qed"
	is "$(cat "$dir/b.qed")" precious "what was there"
	rm "$dir/b.qed"
	as_it_is
	fails 5 "in use by device $name" snapshot --force "$name" "$image"
	fails 1 "can be 4K" snapshot --cluster-size 1K "$name" "$dir/b.qed"
	null s 1
	fails 1 "too small" snapshot --cluster-size 256K "$name" "$dev"
	# of a file system that is full
	null f 8
	mkfs.ext4 -q -O ^has_journal "$dev"
	mkdir "$tmp/full"
	mount "$dev" "$tmp/full"
	dd if=/dev/zero of="$tmp/full/x" bs=4k status=none 2>"$tmp/lib/dd" || true
	fails 1 "no space" snapshot "$name" "$tmp/full/b.qed"
	# logical blocks that a guest would not expect
	null t 64 blocksize=4096
	fails 1 "has sectors of 4096 bytes" snapshot "$name" "$dev"
	is "$(blk u64 "$dev" 0)" 0 "what is on the device"
	stamped
	dmsetup suspend "$name"
	setup_says 5 "is suspended" snapshot "$name" "$dir/b.qed"
	dmsetup resume "$name"
	setup_close
	setup_open --readonly
	setup_says 1 "for reading only" snapshot "$name" "$dir/b.qed"
	setup_close
	closed
}

# on_linear NAME: a device that fails once it is told so, for a new image; sets $dev
on_linear() {
	null "$1" 64
	disk=$dev
	linear "l$1" "$disk"
}

# The second one fails: at last when it is resumed, which virsh of ours sees to.
t_second() {
	local second=$pre-b

	files
	made 32M
	"$QEDSETUP" create "$dir/b.qed" 32M
	"$QEDSETUP" open "$dir/b.qed" "$second"
	stamp "$dev" "/dev/mapper/$second"
	as_it_is
	fails 1 "no such file" snapshot "$name" "$dir/a1" "$second" "$dir/none/b1"
	null t 64 blocksize=4096
	fails 1 "has sectors of 4096 bytes" snapshot "$name" "$dir/a1" "$second" "$dev"
	on_linear n
	virsh_is "[ \$1 != domfsfreeze ] || $bin/blk dm load $pre-ln <<<'0 131072 error'" \
		"[ \$1 != domfsfreeze ] || $bin/blk dm resume $pre-ln"
	# the first one of them cannot be resumed
	fails 1 "cannot be activated" snapshot --freeze guest "$second" "$dev" "$name" "$dir/a1"
	dm_swap ln "0 131072 linear $disk 0"
	# the second one cannot: it goes on, and so does the first one
	setup_says 1 "but 1 of 2 disks go on" snapshot --freeze guest --force "$name" "$dir/a1" \
		"$second" "$dev"
	is "$(image_now)" "$dir/a1" "the image of the first disk"
	json status "$second"
	matches "$json" '"suspended":false.*"image":\{"path":"'"$dir/b.qed" "the second disk"
	stamped
	stamps check "$written" "$written" "/dev/mapper/$name" "/dev/mapper/$second" >/dev/null
	"$QEDSETUP" close "$second"
	"$QEDSETUP" open "$dir/b.qed" "$second"
	is "$("$QEDSETUP" list -n --raw -o NAME,IMAGE | grep "^$second ")" "$second $dir/b.qed" \
		"the image of the second disk"
	"$QEDSETUP" close "$second"
	setup_close
}

t_freeze() {
	files
	made 32M
	virsh_is
	take "$dir/b.qed" --freeze "a guest"
	is "$(cat "$tmp/virsh.log")" "domfsfreeze --domain a guest
domfsthaw --domain a guest" "what virsh was called with"
	as_it_is
	virsh_is '[ $1 != domfsfreeze ]'
	fails 1 "virsh domfsfreeze failed" snapshot --freeze guest "$name" "$dir/c.qed"
	is "$(cat "$tmp/virsh.log")" "domfsfreeze --domain guest
domfsthaw --domain guest" "what virsh was called with"
	# killed while they are frozen
	virsh_is '[ $1 != domfsfreeze ] || kill -KILL $PPID'
	setup_says 137 "" snapshot --freeze guest "$name" "$dir/c.qed"
	wait_for 10 grep -q domfsthaw "$tmp/virsh.log"
	virsh_is
	take "$dir/c.qed" --freeze guest
	virsh_is '[ $1 != domfsthaw ]'
	"$QEDSETUP" snapshot --freeze guest "$name" "$dir/d.qed" 2>"$tmp/lib/err"
	matches "$(cat "$tmp/lib/err")" "are frozen still: virsh domfsthaw guest" "what it says"
	setup_close
}

#
# While it is suspended
#

# Nothing is taken from the kernel then that could have to be written to the disk before: no
# memory, no new file.
t_memory() {
	local calls

	files
	made 32M
	"$bin/killer" -l "$tmp/calls" "$QEDSETUP" snapshot "$name" "$dir/b.qed"
	# DM_DEV_SUSPEND does both: the first one is the suspend
	awk '$1 == 16 && $2 == "c138fd06" { if (++n == 1) next }
		n == 1 { print $1 } n == 2 { exit }' "$tmp/calls" >"$tmp/within"
	at_least "$(wc -l <"$tmp/within")" 4 "the calls while it is suspended"
	note "$(sort "$tmp/within" | uniq -c | xargs)"
	# open mmap brk mremap clone fork vfork openat clone3
	for calls in 2 9 12 25 56 57 58 257 435; do
		! grep -qx "$calls" "$tmp/within" || fail "call $calls while it is suspended"
	done
	setup_close
}

# longest COMMAND...: the longest write of three rounds of it, each; sets $longest, of the best
longest() {
	local i took

	longest=
	for i in 1 2 3; do
		stamps longest "$tmp/stamps" >/dev/null
		"$@" "$i"
		took=$(stamps longest "$tmp/stamps")
		[ -n "$longest" ] && [ "$took" -ge "$longest" ] || longest=$took
	done
}

swap_linear() {
	dm_swap lin "0 131072 linear $disk 0"
}

snapshot_number() {
	"$QEDSETUP" snapshot "$name" "$dir/n$1.qed"
}

# Only told: how long it takes depends on the machine.
t_pause() {
	local linear

	null p 64
	disk=$dev
	linear lin "$disk"
	stamp "$dev"
	longest swap_linear
	linear=$longest
	stamped
	files
	made 64M
	stamp "$dev"
	longest snapshot_number
	stamped
	note "longest write over a swap of dm-linear $linear us, over a snapshot $longest us"
	setup_close
}

# Those of the manual page, with other names
t_examples() {
	local page=$here/../../../qed/qedsetup/qedsetup-snapshot.8 disk command

	files
	cd "$dir"
	virsh_is
	PATH=${QEDSETUP%/*}:$PATH
	for disk in vm1 vm1-data; do
		qedsetup create "$pre-$disk.qed" 16M
		qedsetup open "$pre-$disk.qed" "$pre-$disk"
		io "/dev/mapper/$pre-$disk" "write:0:$mb:1"
	done
	sed -n '/^\.SH EXAMPLES/,/^\.SH NOTES/{/^\.nf/,/^\.fi/{/^\./d; s/\\-/-/g; p}}' "$page" |
		sed "s/\\bvm1/$pre-vm1/g" >"$tmp/examples"
	is "$(wc -l <"$tmp/examples")" 4 "the number of commands"
	while read -r command <&3; do
		note "$command"
		$command
	done 3<"$tmp/examples"
	io backup.raw "read:0:$mb:1"
	for disk in vm1 vm1-data; do
		qedsetup close "$pre-$disk"
	done
	cd /
}

run \
	t_snapshot "five snapshots of a disk in use" \
	t_block "images on block devices" \
	t_group "groups of disks" \
	t_shared "what is below is shared" \
	t_revert "back to an image below" \
	t_frozen "images that go on in another one" \
	t_options "options of the table" \
	t_refused "what is refused leaves all as it was" \
	t_second "the second disk of a group fails" \
	t_freeze "file systems of the guest" \
	t_memory "no memory is needed while it is suspended" \
	t_pause "the longest write" \
	t_examples "the examples of the manual page"
