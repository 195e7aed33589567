#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the image device is asked to do counts for the control group of who wants it, and traces
# tell where it comes from.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

c=65536
group=					# its folder
trace=					# a folder of traces

# group: a control group with an io controller, removed at the end
group() {
	mkdir -p "$tmp/mnt/cgroup"
	mount -t cgroup2 none "$tmp/mnt/cgroup" || skip "no cgroup2"
	echo +io >"$tmp/mnt/cgroup/cgroup.subtree_control" || skip "no io controller"
	group=$tmp/mnt/cgroup/$pre
	mkdir "$group"
	trap 'rmdir "$group"' EXIT
}

# inside COMMAND...: run it in the group
inside() {
	# shellcheck disable=SC2016	# the other shell's own
	bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@"
}

# counted DEVICE: sets rbytes, wbytes, rios, wios, dbytes, dios of the group
counted() {
	local number word words

	number=$(cat "/sys/class/block/$(basename "$(readlink -f "$1")")/dev")
	rbytes=0 wbytes=0 rios=0 wios=0
	read -ra words < <(sed -n "s/^$number //p" "$group/io.stat") || true
	for word in ${words[@]+"${words[@]}"}; do
		declare -g "$word"
	done
	note "io.stat of the image device: $rios reads of $rbytes, $wios writes of $wbytes bytes"
}

# Writes to new clusters, with and without a fill, reads that find no table, writes in place
t_counts() {
	local disk i allocating=() inplace=() reads=()

	group
	null a 64
	disk=$dev
	image "$disk" $((64 * mb)) 4096 1
	qed q "$disk" commit_interval 3600000
	for i in {0..19}; do
		allocating+=("write:$((i * 2 * mb)):512:1" "write:$((i * 2 * mb + c)):4096:1")
		inplace+=("write:$((i * 2 * mb)):4096:2")
		reads+=("read:$((i * 2 * mb)):4096:2")
	done
	inside "$bin/blk" io "$dev" "${allocating[@]}"
	counted "$disk"
	at_least "$wios" 40 "the number of allocating writes that counted"
	at_least "$wbytes" $((40 * 4096)) "their size"
	inside "$bin/blk" io "$dev" "${inplace[@]}"
	counted "$disk"
	at_least "$wios" 60 "the number of writes that counted"
	dm_suspend q
	dm_resume q
	i=$rios
	inside "$bin/blk" io "$dev" "${reads[@]}"
	counted "$disk"
	at_least $((rios - i)) 20 "the number of reads that counted"
	dm_remove q
	sound "$disk"
}

# What a write reads below, and copies, counts for who writes: $1: the size of clusters
t_below() {
	local below disk i writes=()

	group
	null b 32
	below=$dev
	null a 64
	disk=$dev
	above "$disk" $((32 * mb)) "$1" 1
	qed q "$disk" backing "$below" commit_interval 3600000
	for ((i = 0; i < 4; i++)); do
		writes+=("write:$((i * $1 + 512)):512:1")
	done
	inside "$bin/blk" io "$dev" "${writes[@]}"
	counted "$below"
	is "$rbytes" $((4 * ($1 - 512))) "what was read below"
	counted "$disk"
	at_least "$wbytes" $((4 * $1)) "what was written"
	dm_remove q
	sound "$disk"
}

# remaps: an instance of the kernel's traces, for bios that go from one device to another
remaps() {
	local dir=/sys/kernel/tracing

	mountpoint -q "$dir" || mount -t tracefs none "$dir" || skip "no tracefs"
	trace=$dir/instances/$pre
	mkdir "$trace"
	trap 'rmdir "$trace"' EXIT
	echo 1 >"$trace/events/block/block_bio_remap/enable" || skip "no such event"
}

# traced WHAT SECTOR: a bio of the guest's has come from there
traced() {
	grep -qE "block_bio_remap: .* $1 .*<- \\($number\\) $2\$" "$trace/trace" ||
		fail "no trace of $1 at $2: $(tail -n 20 "$trace/trace")"
}

# Bios that go on by themselves, clones of a part, and those that are composed with zeroes, too
t_traced() {
	local number

	remaps
	null a 64
	image "$dev" $((64 * mb)) 4096 1
	qed q "$dev"
	number=$(cat "/sys/class/block/$(basename "$(readlink -f "$dev")")/dev")
	number=${number/:/,}
	io "$dev" "write:0:4096:1" "write:$((2 * mb)):512:2" "write:$((4 * mb - 4096)):8192:3" \
		"write:0:4096:4"
	dm_suspend q
	dm_resume q
	io "$dev" "read:0:4096:4"
	is "$(grep -c "WS* .*<- ($number) 0\$" "$trace/trace")" 2 \
		"the number of traces of writes to sector 0"
	traced WS* 4096
	traced WS* $((4 * mb / 512 - 8))
	traced WS* $((4 * mb / 512))
	traced RS* 0
}

run t_counts "io.stat of the image device" \
	"t_below 65536" "io.stat of what is copied from below" \
	"t_below $((4 * mb))" "the same in pieces" \
	t_traced "traces of what goes through the worker"
