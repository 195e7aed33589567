#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The image belongs to QEMU as well: it reads and checks what we wrote and goes on
# writing, and so do we.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

img=			# the image file
disk=			# the loop device on it

attach() {
	truncate -s 256M "$img"
	loop "$img"
	disk=$dev
}

# Give the image back the way QEMU wants it
detach() {
	unloop "$disk"
	qedimg truncate "$img"
}

# Random writes, the same ones for the same seed
scribble() {
	hammer -G 0 -t 1 -n "$2" -S "$3" -r 0 -F 2 -D 0 -b 262144 -l "$size" "$1"
}

# t_ours CLUSTER TABLE: QEMU reads what we wrote, writes, and so on, twice over
t_ours() {
	local turn

	need qemu-img qemu-io
	img=$tmp/image.qed
	size=$((24 * mb))
	qemu-img create -q -f qed -o "cluster_size=$1,table_size=$2" "$img" $((size + 1536))
	truncate -s $((size + 1536)) "$tmp/raw"
	loop "$tmp/raw"
	raw=$dev

	for turn in 1 2; do
		attach
		qed q "$disk"
		scribble "$dev" 60 "$turn"
		scribble "$raw" 60 "$turn"
		dm_remove q
		detach
		qemu-img check -q -f qed "$img" || fail "QEMU finds errors"
		qemu-img compare -q -f qed -F raw "$img" "$tmp/raw" || fail "QEMU reads other data"

		for file in "qed $img" "raw $tmp/raw"; do
			# shellcheck disable=SC2086	# two words
			qemu-io -f $file -c "write -P $((64 + turn)) ${turn}00k 300k" \
				-c "write -P $((96 + turn)) $((7 * turn))M 512" \
				-c "write -z $((3 + turn))M 1M" \
				-c "write -P 5 $size 1536" >"$tmp/qemu-io.log"
		done
		attach
		qed q "$disk"
		io "$dev" "cmp:0:$((size + 1536)):$tmp/raw"
		dm_remove q
		detach
	done
	qemu-img check -q -f qed "$img" || fail "QEMU finds errors"
	qedimg compare "$img" "$tmp/raw"
}

# QEMU's image, full of data, zero clusters and holes
t_theirs() {
	local size=$((24 * mb)) i

	need qemu-img qemu-io
	img=$tmp/image.qed
	truncate -s "$size" "$tmp/raw"
	loop "$tmp/raw"
	hammer -G 0 -t 1 -n 60 -r 0 -F 0 -D 0 -b 131072 "$dev"
	unloop "$dev"
	qemu-img convert -f raw -O qed -o "cluster_size=$1,table_size=$2" "$tmp/raw" "$img"
	for i in "qed $img" "raw $tmp/raw"; do
		# shellcheck disable=SC2086	# two words
		qemu-io -f $i -c 'write -z 4M 2M' -c 'write -P 7 5M 100k' -c 'write -z 100k 400k' \
			-c 'write -P 8 23M 1M' >"$tmp/qemu-io.log"
	done
	loop "$img"
	disk=$dev
	qed q "$disk" read_only
	io "$dev" "cmp:0:$size:$tmp/raw"
	dm_remove q
	unloop "$disk"

	# writes into zero clusters
	attach
	qed q "$disk"
	io "$dev" "cmp:0:$size:$tmp/raw" write:4198400:512:9 write:6287360:8192:10
	loop "$tmp/raw"
	io "$dev" write:4198400:512:9 write:6287360:8192:10
	dm_remove q
	detach
	qemu-img check -q -f qed "$img" || fail "QEMU finds errors"
	qemu-img compare -q -f qed -F raw "$img" "$tmp/raw" || fail "QEMU reads other data"
}

run "t_ours 65536 4" "in turns with QEMU, 64 KiB clusters" \
	"t_ours 4096 2" "in turns with QEMU, 4 KiB clusters" \
	"t_theirs 65536 4" "QEMU's image, 64 KiB clusters" \
	"t_theirs 4096 16" "QEMU's image, 4 KiB clusters and large tables"
