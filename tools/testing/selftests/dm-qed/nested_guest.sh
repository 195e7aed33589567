#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A virtual machine with a dm-qed device as its disk boots, uses it and ends:
# a boot sector that copies blocks by calls of the BIOS, and Linux that writes to
# a filesystem, or has its root there, in an image over a golden one. Without
# hardware virtualization both are emulated, so Linux is a kernel made for this, by
# tools/testing/vm/build-kernel; NESTED_KERNEL may name it.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

limit=2500				# seconds for a machine
size=$((48 * mb))			# of its disk
lower=
below=					# a golden image
command=()				# that starts a machine
said=					# by the machine

stack() {
	null a 64
	lower=$dev
	image "$lower" "$size"
	qed q "$lower"
}

# golden FILE: what is there is below all that follows, read-only
golden() {
	loop "$1" ro
	below=$dev
	sum=$(md5sum <"$1")
}

# clone NAME WORD: a new image over that, which the table calls so; sets $dev
clone() {
	null "$1" 64
	lower=$dev
	above "$lower" "$size" 16384
	qed "$1" "$lower" "$2" "$below"
}

# qemu_command DISK DEVICE OPTION...: sets $command, for a machine with the disk as a device of this
# type
qemu_command() {
	local accel=(tcg -cpu "max,erms=off")		# see vm-run

	[ ! -w /dev/kvm ] || accel=(kvm -cpu max)
	command=(timeout "$limit" qemu-system-x86_64 -nodefaults -no-user-config -display none
		-no-reboot -accel "${accel[@]}"
		-drive "if=none,id=disk,format=raw,file=$1,cache=none,aio=native"
		-device "$2,drive=disk" "${@:3}")
}

# qemu DISK DEVICE OPTION...: run it
qemu() {
	local start=$SECONDS rc=0

	qemu_command "$@"
	"${command[@]}" </dev/null || rc=$?
	note "the machine ran for $((SECONDS - start)) s, status $rc"
	return "$rc"
}

#
# A boot sector
#

# Copies 32 blocks of 32 KiB from 1 MiB on to 6150 sectors and more, with gaps.
boot_sector() {
	cat >"$tmp/boot.s" <<-'END'
			.code16
			.globl _start
		_start:
			xorw %ax, %ax
			movw %ax, %ds
			movw %ax, %ss
			movw $0x7c00, %sp
			movb %dl, drive
		next:
			movl from, %eax
			movb $0x42, %bh			# read
			call transfer
			movl to, %eax
			movb $0x43, %bh			# write
			call transfer
			addl $64, from
			addl $88, to			# no multiple of a cluster
			decw blocks
			jnz next
			movb $0x10, %al
		quit:
			outb %al, $0xf4
			hlt
		transfer:
			movl %eax, lba
			movw $packet, %si
			movb drive, %dl
			movb %bh, %ah
			xorb %al, %al
			int $0x13
			jnc 1f
			movb $0x20, %al
			jmp quit
		1:	ret
		blocks:	.word 32
		from:	.long 2048
		to:	.long 6150
		drive:	.byte 0
			.balign 4
		packet:	.word 16, 64, 0, 0x1000		# size, sectors, buffer
		lba:	.quad 0
			.org 510
			.word 0xaa55
	END
	as --32 -o "$tmp/boot.o" "$tmp/boot.s"
	ld -m elf_i386 --oformat binary -Ttext 0x7c00 -o "$tmp/boot" "$tmp/boot.o"
}

# t_boot [WORD]: from an image by itself, or from one over a golden image
t_boot() {
	local i rc=0

	need qemu-system-x86_64 as ld cmp
	boot_sector
	truncate -s "$size" "$tmp/expected"
	dd if="$tmp/boot" of="$tmp/expected" conv=notrunc status=none
	dd if=/dev/urandom of="$tmp/expected" bs=1M seek=1 count=1 conv=notrunc status=none
	if [ $# = 0 ]; then
		stack
		dd if="$tmp/expected" of="$dev" bs=64k count=32 oflag=direct status=none
	else
		cp "$tmp/expected" "$tmp/golden"
		golden "$tmp/golden"
		clone q "$1"
	fi

	qemu "$dev" virtio-blk-pci -M pc -m 32 -device isa-debug-exit,iobase=0xf4,iosize=1 || rc=$?
	is "$rc" 33 "the exit status of the machine"
	for ((i = 0; i < 32; i++)); do
		echo "$((2048 + 64 * i)) $((6150 + 88 * i))"
	done | while read -r from to; do
		dd if="$tmp/expected" of="$tmp/expected" bs=512 skip="$from" seek="$to" count=64 \
			conv=notrunc status=none
	done
	io "$dev" "cmp:0:$size:$tmp/expected"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
	qed q "$lower" ${1:+"$1" "$below"} read_only
	io "$dev" "cmp:0:$size:$tmp/expected"
	[ $# = 0 ] || is "$(md5sum <"$tmp/golden")" "$sum" "the sum of the golden image"
}

#
# Linux
#

# Sets kernel
find_kernel() {
	local cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/dm-qed

	kernel=${NESTED_KERNEL:-$(echo "$cache"/built/nested-*/vmlinux)}
	[ -r "$kernel" ] || skip "no kernel, see tools/testing/vm/build-kernel"
}

# root SCRIPT: a root filesystem in $tmp/root, with a script for the machine to run
root() {
	local root=$tmp/root

	mkdir -p "$root"/{bin,dev,mnt,proc}
	cp "$(type -P busybox)" "$root/bin/"
	cat >"$root/init" <<-END
		#!/bin/busybox sh
		/bin/busybox mount -t proc none /proc
		/bin/busybox mount -t devtmpfs none /dev
		/bin/busybox --install -s /bin
		export PATH=/bin
		(
			set -e
			$1
			echo "machine: done"
		) 2>&1
		reboot -f
	END
	chmod +x "$root/init"
}

# linux DISK CONSOLE WORDS [OPTION]...: sets $command, for a machine with this kernel
linux() {
	qemu_command "$1" virtio-blk-device -M microvm,pit=on,pic=on,rtc=off,acpi=off -m 96 \
		-kernel "$kernel" -append "console=ttyS0 quiet panic=-1 reboot=t mitigations=off $3" \
		-serial "file:$2" "${@:4}"
}

# heard CONSOLE: sets said to what the script has said
heard() {
	said=$(tr -d '\r' <"$1")
	tail -n 40 <<<"$said"
	grep -q '^machine: done' <<<"$said" || fail "the machine has not got to its end"
}

# machine DISK SCRIPT: the script has the disk besides its root
machine() {
	local start=$SECONDS

	root "$2"
	(cd "$tmp/root" && find . | cpio -o -H newc --quiet) >"$tmp/initramfs.cpio"
	rm -rf "$tmp/root"
	linux "$1" "$tmp/console" "" -initrd "$tmp/initramfs.cpio"
	"${command[@]}" </dev/null || true
	note "the machine ran for $((SECONDS - start)) s"
	heard "$tmp/console"
}

# The files, their sums as the machine had them, and what was there before
verify() {
	is "$(sha256sum <"$1/data")" "$(sed -n 's/^data: //p' <<<"$said")" "the sum of a file"
	is "$(cat "$1/dir/text")" "written by the machine" "the text in a file"
	is "$(find "$1/dir" -name 'f*' | wc -l)" 20 "the number of files"
	is "$(cat "$1/before")" "written by us" "the file that was there before"
}

t_linux() {
	local raw

	need qemu-system-x86_64 busybox cpio mkfs.ext4
	find_kernel
	note "kernel $kernel"

	stack
	mkfs.ext4 -q -E lazy_itable_init=0 -J size=4 "$dev"
	mount "$dev" "$tmp/mnt"
	echo "written by us" >"$tmp/mnt/before"
	umount "$tmp/mnt"

	# shellcheck disable=SC2016	# for the machine's shell
	machine "$dev" '
		mount -t ext4 /dev/vda /mnt
		cat /mnt/before
		dd if=/dev/vda of=/mnt/data bs=64k count=48
		seq 1 20000 >>/mnt/data
		mkdir /mnt/dir
		echo "written by the machine" >/mnt/dir/text
		for i in $(seq 1 20); do seq $i 200 >/mnt/dir/f$i; done
		sync
		echo "data: $(sha256sum </mnt/data)"
		umount /mnt'

	mount -o ro "$dev" "$tmp/mnt"
	verify "$tmp/mnt"
	umount "$tmp/mnt"
	e2fsck -fn "$dev"
	raw=$(sha256sum <"$dev")
	dm_remove q
	is_clean "$lower"
	sound "$lower"

	qed q "$lower" read_only
	is "$(sha256sum <"$dev")" "$raw" "the sum of the disk after a new activation"
	mount -o ro,noload "$dev" "$tmp/mnt"
	verify "$tmp/mnt"
	umount "$tmp/mnt"
}

#
# Linux with its root in an image over a golden one
#

# golden_root: an image of a root filesystem, whose script writes what is said to be the name of the
# machine
golden_root() {
	need qemu-system-x86_64 qemu-img busybox mkfs.ext4
	find_kernel
	# shellcheck disable=SC2016	# for the machine's shell
	root '
		read -r text </golden
		echo "machine: begun, from an image $text"
		rm /gone
		dd if=/dev/vda of=/data bs=64k skip=16 count=40
		seq 1 20000 >>/data
		echo "written by $guest" >/text
		sync
		echo "data: $(sha256sum </data)"
		mount -o remount,ro /'
	echo "that is golden" >"$tmp/root/golden"
	seq 1 100000 >"$tmp/root/gone"
	cp "$tmp/root/gone" "$tmp/root/large"
	truncate -s "$size" "$tmp/root.raw"
	mkfs.ext4 -q -E lazy_itable_init=0 -J size=4 -d "$tmp/root" "$tmp/root.raw"
	rm -rf "$tmp/root"
	qemu-img convert -f raw -O qed "$tmp/root.raw" "$tmp/golden.qed"
	golden "$tmp/golden.qed"
}

# start NAME DEVICE: a machine of that name begins; sets $worker
start() {
	linux "$2" "$tmp/console-$1" "root=/dev/vda rootfstype=ext4 rw init=/init guest=$1"
	bg "${command[@]}"
	worker=$!
}

# ended NAME PID DEVICE DISK: what this machine has written is there, and what was not its own
ended() {
	wait "$2" || note "status $? of the machine $1"
	heard "$tmp/console-$1"
	grep -q '^machine: begun, from an image that is golden' <<<"$said" ||
		fail "the machine has not read the golden image"
	e2fsck -fn "$3"
	mount -o ro,noload "$3" "$tmp/mnt"
	is "$(cat "$tmp/mnt/text")" "written by $1" "the text of $1"
	is "$(sha256sum <"$tmp/mnt/data")" "$(sed -n 's/^data: //p' <<<"$said")" "the sum of a file"
	[ ! -e "$tmp/mnt/gone" ] || fail "what was removed is there"
	seq 1 100000 | cmp - "$tmp/mnt/large"
	umount "$tmp/mnt"
	dm_remove "$1"
	is_clean "$4"
	sound "$4"
}

# unchanged: nobody has written to the golden image
unchanged() {
	is "$(md5sum <"$tmp/golden.qed")" "$sum" "the sum of the golden image"
	qed g "$below" read_only
	io "$dev" "cmp:0:$size:$tmp/root.raw"
}

t_golden() {
	golden_root
	clone one layer
	start one "$dev"
	ended one "$worker" "$dev" "$lower"
	unchanged
}

# waits DEVICE: is a read of it under way?
waits() {
	local inflight

	read -ra inflight <"/sys/class/block/$(basename "$(readlink -f "$1")")/inflight"
	[ "${inflight[0]}" -gt 0 ]
}

# Both begin while the golden image does not answer, so that they run at the same time.
t_two() {
	local first second first_disk second_disk pids=()

	golden_root
	linear below "$below"
	below=$dev
	clone one layer
	first=$dev
	first_disk=$lower
	clone two layer
	second=$dev
	second_disk=$lower
	dm_suspend below
	start one "$first"
	pids+=("$worker")
	start two "$second"
	pids+=("$worker")
	wait_for 100 waits "$first"
	wait_for 100 waits "$second"
	dm_resume below
	ended one "${pids[0]}" "$first" "$first_disk"
	ended two "${pids[1]}" "$second" "$second_disk"
	unchanged
}

run t_boot "a virtual machine boots from the device and writes to it" \
	"t_boot backing" "it boots from an image over what is raw" \
	t_linux "Linux in a virtual machine uses the device" \
	t_golden "Linux boots from an image over a golden one" \
	t_two "two of them at once, over the same golden image"
