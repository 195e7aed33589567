#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qedsetup(8) with the module: devices, loop devices, locks, the ends of files. What needs no
# module is tested by tools/testing/setup.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=setup.sh
. "$(dirname "$0")/setup.sh"

t_open() {
	files
	json create "$image" 64M
	json open "$image" "$name"
	is "$("$QEDSETUP" list -n --raw --bytes -o NAME,IMAGE,SIZE)" "$name $image $((64 * mb))" list
	json list
	json status "$name"
	matches "$json" '"direct-io":true.*"mode":"rw"' status
	"$QEDSETUP" status "$name" | head -n 1 | grep -qx "/dev/mapper/$name is active."
	io "/dev/mapper/$name" "write:0:$((4 * mb)):0x5a" flush
	at_least "$(size_of "$image")" $((64 * mb)) "the size of the file in use"
	json close "$name"
	matches "$json" '"deferred":false,"file-size":'"$(size_of "$image")" close
	closed
	qemu-img check -q -f qed "$image"
	json info "$image"
	at_most "$(size_of "$image")" $((5 * mb)) "the size of the file"
	setup_open
	io "$dev" "read:0:$((4 * mb)):0x5a"
	setup_close
	closed
}

t_not_there() {
	files
	setup_says 4 "is not active" status "$name"
	setup_says 4 "is not active" close "$name"
	setup_says 4 "is not active" resize "$name" 1M
	setup_says 1 "no such file" open "$image" "$name"
	truncate -s 1M "$image"
	setup_says 4 "not a QED image" open "$image" "$name"
	is "$(size_of "$image")" "$mb" "the size of what is no image"
	null x 16
	linear x "$dev"
	setup_says 4 "is no device of dm-qed" status "$pre-x"
	setup_says 4 "is no device of dm-qed" close "$pre-x"
	setup_says 1 "cannot be the name" open "$image" a/b
}

t_locks() {
	files
	"$QEDSETUP" create "$image" 64M
	setup_open
	locked qemu-img info "$image"
	locked qemu-img check -f qed "$image"
	locked qemu-img resize -f qed "$image" 128M
	locked qemu-img convert -f qed -O raw "$image" "$tmp/out"
	locked qemu-img commit -f qed "$image"
	locked qemu-io -f qed -c "read 0 512" "$image"
	qemu-img info -U "$image" >/dev/null
	dm_suspend a
	locked qemu-img info "$image"
	dm_resume a
	setup_says 5 "in use by device $name of device mapper" open "$image" "$pre-b"
	setup_says 5 "in use by device $name of device mapper" create --force "$image" 1M
	setup_says 5 "there is such a device, with the image $image" open "$image" "$name"
	"$QEDSETUP" open --if-needed "$image" "$name"
	setup_close
	closed
	loop "$image"
	setup_says 5 "in use by loop device $dev" open "$image" "$name"
	# it is a block device like others if it is given by its name
	"$QEDSETUP" open "$dev" "$name"
	setup_close
	is "$(loops "$dev")" 0 "the number of loop devices that keep locks"
	unloop "$dev"
	mkfifo "$tmp/fifo"
	bg bash -c "exec qemu-io -f qed $image <$tmp/fifo >/dev/null"
	exec 9>"$tmp/fifo"
	wait_for 20 not qemu-img info "$image"
	setup_says 5 "in use by process $! \(qemu-io\)" open "$image" "$name"
	exec 9>&-
	wait $!
	setup_open
	setup_close
}

t_sectors() {
	files
	"$QEDSETUP" create "$image" 64M
	setup_open --sector-size 4096
	is "$(blockdev --getss "$dev")" 4096 "the size of a sector"
	setup_close
	setup_open
	is "$(blockdev --getss "$dev")" 512 "the size of a sector"
	setup_close
	"$QEDSETUP" create --force "$image" 66048
	setup_says 1 "no whole sectors of 4096" open --sector-size 4096 "$image" "$name"
	unused
}

# is_open: somebody has the device open, and is what the name of a process says
is_open() {
	[ "$(dmsetup info -c --noheadings -o open "$name")" != 0 ] && pidof sleep >/dev/null
}

t_users() {
	files
	"$QEDSETUP" create "$image" 64M
	setup_open --host
	matches "$(dmsetup info -c --noheadings -o uuid "$name")" '^QED-HOST-' uuid
	mkfs.ext4 -q "$dev"
	mkdir "$tmp/on"
	mount "$dev" "$tmp/on"
	setup_says 5 "in use by the file system at $tmp/on" close "$name"
	umount "$tmp/on"
	bg bash -c "exec sleep 1000 <$dev"
	wait_for 10 is_open
	setup_says 5 "in use by process $! \(sleep\)" close "$name"
	kill $!
	wait $! || true
	linear u "$dev"
	setup_says 5 "in use by device $pre-u of device mapper" close "$name"
	dm_remove u
	setup_close
	closed
}

# has_user: somebody has the device open
has_user() {
	[ "$(dmsetup info -c --noheadings -o open "$name")" != 0 ]
}

# As udev does, who lets go when the device is about to be removed
t_looked_at() {
	files
	"$QEDSETUP" create "$image" 64M
	setup_open
	bg bash -c "exec 3<$dev; until grep -qsw close /run/qed/*; do sleep 0.1; done"
	wait_for 10 has_user
	setup_close
	closed
}

t_deferred() {
	files
	"$QEDSETUP" create "$image" 64M
	setup_open
	io "$dev" "write:0:$mb:1" flush
	exec 9<"$dev"
	"$QEDSETUP" close --deferred --quiet "$name"
	json status "$name"
	matches "$json" '"deferred-remove":true' status
	"$QEDSETUP" close --cancel-deferred "$name"
	exec 9<&-
	"$QEDSETUP" status --quiet "$name"
	exec 9<"$dev"
	"$QEDSETUP" close --deferred "$name"
	exec 9<&-
	wait_for 10 not "$QEDSETUP" status "$name"
	wait_for 10 has_loops "$image" 0
	at_least "$(size_of "$image")" $((64 * mb)) "the size with the tail"
	setup_open
	io "$dev" "read:0:$mb:1" "write:$mb:$mb:2" "read:$mb:$mb:2"
	setup_close
	closed
	at_most "$(size_of "$image")" $((3 * mb)) "the size"
}

# A copy of an image in use is one after a crash, as long as the owner is gone
t_crash() {
	files
	"$QEDSETUP" create "$image" 64M
	setup_open
	io "$dev" "write:0:$mb:1" flush
	cp --sparse=always "$image" "$dir/b.qed"
	setup_close
	image=$dir/b.qed
	is_active "$image" || fail "the copy is not active"
	setup_open
	io "$dev" "read:0:$mb:1" "write:$mb:$mb:2" flush
	setup_close
	closed
	# QEMU's crash, with a file that ends where the image does
	blk poke "$image" 16 2
	no_record "$image"
	setup_open
	settle a
	io "$dev" "read:0:$mb:1" "write:$((60 * mb)):$mb:3" flush
	at_least "$(size_of "$image")" $((64 * mb)) "the size with the tail"
	setup_close
	closed
}

t_headroom() {
	files
	"$QEDSETUP" create "$image" 1G
	setup_open --headroom 8M --low-water 1M
	at_most "$(size_of "$image")" $((9 * mb)) "the size with headroom"
	io "$dev" "write:0:$((6 * mb)):1" flush
	json grow "$name" --headroom 16M
	at_most "$(size_of "$image")" $((24 * mb)) "the size after grow"
	io "$dev" "write:$((6 * mb)):$((12 * mb)):2" flush
	json grow "$name"
	at_least "$(size_of "$image")" $((1024 * mb)) "the size that is enough"
	setup_close
	closed
}

t_resize() {
	files
	"$QEDSETUP" create "$image" 64M
	setup_open
	json resize "$name" 128M
	is "$(sectors_of "$dev")" $((128 * 2048)) "the size"
	setup_says 1 "can only become larger" resize "$name" 64M
	setup_says 1 "multiple of 512" resize "$name" 134217729
	io "$dev" "write:$((127 * mb)):$mb:1" flush "read:$((127 * mb)):$mb:1"
	settle a
	json check "$name"
	matches "$json" '"leaks":0,"defects":0' check
	json trim "$name"
	setup_close
	closed
	is "$(blk u64 "$image" 48)" $((128 * mb)) "the size in the header"
	setup_open --readonly
	setup_says 1 "for reading only" resize "$name" 256M
	setup_says 1 "for reading only" grow "$name"
	setup_close
}

t_block() {
	null b 64
	image=$dev
	name=$pre-a
	garbage "$image" 64
	"$QEDSETUP" create --zero "$image" 50M
	setup_says 5 "has a QED image on it" create "$image" 50M
	json info "$image"
	setup_open --known-zeroes
	is "$(status a zeroed)" "$(status a free)" "the clusters that are known to be zero"
	locked qemu-img info "$image"
	setup_says 5 "in use by device $name" open "$image" "$pre-b"
	setup_says 5 "in use by device $name" create --force "$image" 1M
	io "$dev" "write:0:$mb:1" flush
	setup_says 1 "is on a block device" grow "$name" --headroom 1M
	json grow "$name"
	setup_close
	qemu-img info "$image" >/dev/null
	is "$(loops "$image")" 0 "the number of loop devices that keep locks"
	# a device that is gone without us has left its locks
	setup_open
	dmsetup remove "$name"
	is "$(loops "$image")" 1 "the number of loop devices that keep locks"
	setup_open
	io "$dev" "read:0:$mb:1"
	setup_close
	is "$(loops "$image")" 0 "the number of loop devices that keep locks"
	sound "$image"
	mkfs.ext4 -q "$image"
	setup_says 5 "has ext4 on it" create "$image" 50M
	"$QEDSETUP" create --force "$image" 50M
	setup_says 1 "too small" create --force --cluster-size 64M --table-size 2 "$image" 1G
}

t_names() {
	files
	image=$dir/$'a b\nc'
	name=$pre-$' x\n\\"'
	"$QEDSETUP" create "$image" 8M
	"$QEDSETUP" open "$image" "$name"
	json list
	json status "$name"
	is "$("$QEDSETUP" list -n | wc -l)" 1 "the number of lines"
	setup_says 5 "there is such a device" open "$image" "$name"
	setup_close
	closed
}

t_buffered() {
	files
	image=$tmp/a.qed
	"$QEDSETUP" create "$image" 8M
	if setup_open 2>/dev/null; then
		setup_close
		skip "a tmpfs with direct I/O"
	fi
	setup_says 1 "no direct I/O" open "$image" "$name"
	unused
	setup_open --buffered
	setup_close
	closed
}

t_record() {
	files
	"$QEDSETUP" create "$image" 8M
	setup_open
	setup_close
	# active, on another host
	python3 -B - "$image" <<-'END'
		import struct, sys
		with open(sys.argv[1], "r+b") as file:
		    data = struct.pack("<IHH16s64sQQQQI", 0x52444551, 1, 1, bytes(range(16)),
		                       b"elsewhere", 0, 0, 0, 1 << 20, 0)
		    crc = 0xffffffff
		    for byte in data:
		        crc ^= byte
		        for _ in range(8):
		            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
		    file.seek(384)
		    file.write(data + struct.pack("<I", crc ^ 0xffffffff))
	END
	setup_says 5 "host elsewhere has it" open "$image" "$name"
	setup_open --takeover
	setup_close
	closed
}

# t_examples: those of the manual page, with other names of devices
t_examples() {
	local page=$here/../../../qed/qedsetup/qedsetup.8 device

	files
	cd "$dir"
	truncate -s 8M golden.raw
	PATH=${QEDSETUP%/*}:$PATH
	sed -n '/^\.SH EXAMPLES/,/^\.SH NOTES/{/^\.nf/,/^\.fi/{/^\./d; s/\\-/-/g; p}}' "$page" |
		sed -E "s/\\b(vm1|vm2|data)\\b/$pre-\\1/g" >"$tmp/examples"
	at_least "$(wc -l <"$tmp/examples")" 10 "the number of commands"
	while read -r command <&3; do
		note "$command"
		$command
	done 3<"$tmp/examples"
	for device in vm2 data; do
		"$QEDSETUP" close "$pre-$device"
	done
	cd /
}

run \
	t_open "open, list, status, close" \
	t_not_there "what is not there, or is something else" \
	t_locks "nobody else gets the image: QEMU, another name, another loop device" \
	t_sectors "logical blocks" \
	t_users "who uses a device is named" \
	t_looked_at "who only has a look at a device does not keep it" \
	t_deferred "a deferred close, and the tail it leaves" \
	t_crash "images that were not closed" \
	t_headroom "headroom and grow" \
	t_resize "resize, check, trim" \
	t_block "a block device" \
	t_names "names with spaces and newlines" \
	t_buffered "a file system without direct I/O" \
	t_record "an image of another host" \
	t_examples "the examples of the manual page"
