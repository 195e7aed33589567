#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# demo-guest.sh - the demonstration, in the virtual machine: the life of an
# image from its creation over its use as a block device back to a plain file
#
# Usage: demo-guest.sh	(in vm-run, with an empty disk as /dev/vda)

set -eu

tree=$PWD
qedimg=$tree/tools/testing/qedimg/qedimg.py
size=$((1 << 30))		# of the disk in the image
log=$VM_OUT/commands.log

say()
{
	printf '\n%s\n' "$*"
}

show()
{
	local word line="  \$"

	for word; do
		[[ $word != *" "* ]] || word="'$word'"
		line+=" $word"
	done
	echo "$line"
}

# Show a command and its output
run()
{
	show "$@"
	"$@" 2>&1 | sed '/^$/d; s/^/    /'
}

# Show a command; its output goes to the log
quietly()
{
	show "$@"
	"$@" >>"$log" 2>&1
}

# The options of fio would not fit on the screen
load()
{
	show fio --rw=randwrite --iodepth=16 --verify=crc32c ...
	fio --name=load --filename="$1" --size=32M --direct=1 \
		--rw=randwrite --bsrange=4k-64k --ioengine=libaio \
		--iodepth=16 --verify=crc32c --verify_fatal=1 --end_fsync=1 \
		>>"$log" 2>&1
}

failed()
{
	echo
	echo "This step failed. What the commands and the kernel said last:"
	tail -n 20 "$log"
	dmesg | tail -n 10
}

set -o pipefail
trap failed ERR
: >"$log"

# a disk for the image to lie on
mkfs.xfs -q /dev/vda
mkdir -p /tmp/host /tmp/guest
mount /dev/vda /tmp/host
cd /tmp/host

say "A QED image, made by QEMU, and room to grow: a sparse tail."
quietly qemu-img create -f qed disk.qed $size
end=$(stat -c %s disk.qed)
cluster=$("$qedimg" info disk.qed | sed -n 's/.*"cluster_size": \([0-9]*\).*/\1/p')
zeroed=$(((end + cluster - 1) / cluster))
echo "    $end bytes, clusters of $cluster"
run truncate -s $((size + (64 << 20))) disk.qed

say "It becomes a block device. All from cluster $zeroed on is known to be zero."
loop=$(losetup --find --show --direct-io=on disk.qed)
show losetup --find --show --direct-io=on disk.qed
echo "    $loop"
run dmsetup create demo --table \
	"0 $((size / 512)) qed $loop 2 zeroed_from $zeroed"

say "A filesystem on it, with a copy of real files, and a verified load."
quietly mkfs.ext4 -q /dev/mapper/demo
quietly mount /dev/mapper/demo /tmp/guest
quietly cp -a /usr/include/linux /tmp/guest/
load /tmp/guest/load
quietly umount /tmp/guest
run dmsetup status demo

say "Mounted again, all is there, and the filesystem is sound."
quietly mount /dev/mapper/demo /tmp/guest
quietly diff -r /usr/include/linux /tmp/guest/linux
quietly umount /tmp/guest
quietly e2fsck -fn /dev/mapper/demo

say "A raw copy to compare with; then the device goes, and so does the tail."
quietly dd if=/dev/mapper/demo of=copy.raw bs=1M conv=sparse
run dmsetup remove demo
run losetup --detach "$loop"
run truncate -s "$("$qedimg" hwm disk.qed)" disk.qed

say "What QEMU says about the file:"
run qemu-img check disk.qed
run qemu-img compare -f qed -F raw disk.qed copy.raw

say "Done: every step worked."
