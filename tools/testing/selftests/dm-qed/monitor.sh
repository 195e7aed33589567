#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qed-monitor(8) with the module: volumes, files and file systems that get full. How much space it
# gives, and its configuration, are tested by tools/testing/monitor.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=setup.sh
. "$(dirname "$0")/setup.sh"

QED_MONITOR=${QED_MONITOR:-$here/../../../../build/qed/qed-monitor}
timeout_file=/sys/module/dm_qed_mod/parameters/no_space_timeout

prepare() {
	[ -x "$QED_MONITOR" ] || fail "qed-monitor is not built, run make tools"
	[ -x "$QEDSETUP" ] || fail "qedsetup is not built, run make tools"
	flock -n /run/qed-monitor.lock true || fail "there is a qed-monitor already, stop it"
	# a machine that is slow is no lack of space
	echo 600 >"$timeout_file"
}

# Lines of sections that come before that of all our devices
sections=()

# config [SETTING]...: for our devices; those of others are left alone
config() {
	{
		echo "interval = 3600"
		echo "hook = $tmp/hook"
		echo "metrics = $tmp/qed.prom"
		echo "grow = no"
		printf '%s\n' "${sections[@]}" "[$pre-*]" "grow = yes" "$@"
	} >"$tmp/qed.conf"
}

# monitor [SETTING]...: begin; sets $monitor to its process
monitor() {
	cat >"$tmp/hook" <<-END
		#!/bin/sh
		echo "\$1" >>"$tmp/told"
	END
	chmod +x "$tmp/hook"
	: >"$tmp/told"
	config "$@"
	bg "$QED_MONITOR" --config "$tmp/qed.conf" 2>"$tmp/log"
	monitor=$!
	wait_for 60 logged "has begun"
}

# logged REGEX: has it said so? For wait_for
logged() {
	grep -q "$1" "$tmp/log"
}

# told EVENT: has the hook been run for that?
told() {
	grep -qx "$1" "$tmp/told"
}

# told_times EVENT: how often
told_times() {
	grep -cx "$1" "$tmp/told" || true
}

# stop: end it; all it had to say has been said then
stop() {
	local rc=0

	kill -TERM "$monitor"
	wait "$monitor" || rc=$?
	is "$rc" 0 "exit status of the monitor ($(cat "$tmp/log"))"
	[ ! -e "$tmp/qed.prom" ] || fail "the file for Prometheus is left"
}

# metric NAME [LABEL]: its value for $pre-a
metric() {
	sed -n "s/^$1{device=\"$pre-a\"${2-}} //p" "$tmp/qed.prom"
}

metric_is() {
	[ -e "$tmp/qed.prom" ] && [ "$(metric "$1" "${3-}")" = "$2" ]
}

# volume MIB: the layer "v" stands for a volume that a command makes larger; sets $dev. The command
# says that it has begun, and waits until it may go on.
volume() {
	local disk

	null d 512
	disk=$dev
	linear v "$disk" $(($1 * mb / 512))
	image "$dev" $((1024 * mb))
	cat >"$tmp/command" <<-END
		#!/bin/bash
		set -e
		echo "\$1 \$2 \$3" >"$tmp/begun"
		until [ -e "$tmp/go" ]; do sleep 0.05; done
		rm "$tmp/go"
		sectors=\$((\$(dmsetup table "$pre-v" | cut -d ' ' -f 2) + \$3 / 512))
		dmsetup load "$pre-v" --table "0 \$sectors linear $disk 0"
		dmsetup suspend "$pre-v"
		dmsetup resume "$pre-v"
		rm "$tmp/begun"
	END
	chmod +x "$tmp/command"
}

# Has the command begun, or is as much free as low_water?
is_cared_for() {
	[ -e "$tmp/begun" ] || [ "$(status a free)" -ge 320 ]
}

not_begun() {
	[ ! -e "$tmp/begun" ] && [ "$(status a free)" -ge 320 ]
}

# let_go: the command makes the volume larger, and the monitor tells the kernel
let_go() {
	touch "$tmp/go"
	wait_for 120 not_begun
}

# The time of a guest that writes a fifth of the headroom, of 20 MiB, in a second, goes on with what
# it writes: half a second for each 2 MiB. The monitor has half a second to begin, and then it takes
# four seconds.
t_fifth() {
	local at=0 since=0 extends=0 before

	volume 24
	qed a "$dev" low_water 320
	before=$(events a)
	monitor "headroom = 20M" "chunk = 20M" "command = $tmp/command"
	while [ "$extends" -lt 3 ]; do
		io "$dev" "write:$at:$((2 * mb)):0x5a"
		at=$((at + 2 * mb))
		is "$(status a mode)" rw "the mode after $((at / mb)) MiB"
		if [ -e "$tmp/begun" ]; then
			since=$((since + 1))
		else
			wait_for 120 is_cared_for
		fi
		if [ "$since" = 8 ]; then
			let_go
			since=0
			extends=$((extends + 1))
		fi
	done
	wait_for 60 metric_is qed_grown_total 3
	# less than low_water was free once for each of them, and nobody has waited
	is "$(($(events a) - before))" 3 "the number of events"
	is "$(metric qed_growth_failed_total)" 0 "how often it failed"
	stop
	not logged "writes wait"
	io "$dev" "read:0:$at:0x5a"
}

# It would not look for an hour if the kernel did not tell.
t_events() {
	volume 64
	qed a "$dev" low_water 320
	monitor "headroom = 20M" "chunk = 20M" "command = $tmp/command"
	wait_for 60 metric_is qed_free_bytes "$(($(status a free) * 65536))"
	io "$dev" "write:0:$((40 * mb)):0x5a"
	[ ! -e "$tmp/begun" ] || fail "it has begun too early"
	io "$dev" "write:$((40 * mb)):$((8 * mb)):0x5a"
	wait_for 60 test -e "$tmp/begun"
	is "$(status a mode)" rw "the mode"
	let_go
	stop
}

# waits_or_done PID: does the guest wait for space, or has it ended?
waits_or_done() {
	status_is a mode out_of_space || ! kill -0 "$1" 2>/dev/null
}

# Has the command begun, or does nobody wait?
begun_or_space() {
	[ -e "$tmp/begun" ] || not status_is a mode out_of_space
}

t_faster() {
	local guest rounds=0 rc=0

	volume 24
	qed a "$dev" low_water 320
	monitor "headroom = 20M" "chunk = 20M" "command = $tmp/command"
	bg "$bin/blk" io "$dev" "write:0:$((100 * mb)):0xa5" flush
	guest=$!
	while kill -0 "$guest" 2>/dev/null; do
		# so late that it has to wait
		wait_for 120 waits_or_done "$guest"
		wait_for 120 begun_or_space
		status_is a mode out_of_space || continue
		touch "$tmp/go"
		rounds=$((rounds + 1))
		wait_for 120 not status_is a mode out_of_space
	done
	wait "$guest" || rc=$?
	is "$rc" 0 "exit status of the guest"
	at_least "$rounds" 2 "how often it has waited"
	wait_for 60 told out-of-space
	wait_for 60 told space
	io "$dev" "read:0:$((100 * mb)):0xa5"
	is "$(metric qed_growth_failed_total)" 0 "how often it failed"
	stop
}

# The fields of /proc about its memory
memory() {
	sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$monitor/status"
}

# Has the file become as large as it is to be, and does Prometheus know?
file_has_space() {
	[ "$(status a free)" -ge 128 ] && metric_is qed_size_bytes "$(size_of "$image")"
}

t_file() {
	local data

	files
	"$QEDSETUP" create "$image" 1G
	setup_open --headroom 8M --low-water 8M
	at_most "$(size_of "$image")" $((9 * mb)) "the size at first"
	monitor "headroom = 8M" "chunk = 8M" "reserve = 1M"
	io "$dev" "write:0:$((32 * mb)):0x5a"
	data=$(memory VmData)
	at_least "$(memory VmLck)" "$data" "what is locked in memory"
	io "$dev" "write:$((32 * mb)):$((96 * mb)):0x5a" flush
	wait_for 60 file_has_space
	is "$(memory VmData)" "$data" "the memory of the monitor, in KiB"
	is "$(metric qed_mode ',mode="rw"')" 1 "the mode"
	# by two chunks at most
	at_least "$(metric qed_grown_total)" 7 "how often it has grown"
	is "$(metric qed_filesystem_size_bytes)" \
		$(($(stat -f -c '%b * %S' "$image"))) "the file system"
	told grown || fail "the hook was not told"
	is "$(told_times failed)" 0 "failures"
	setup_close
	closed
	stop
	setup_open
	io "$dev" "read:0:$((128 * mb)):0x5a"
	setup_close
	closed
}

# No more than the reserve is left, so the file stays as it is until that is less.
t_reserve() {
	local guest size rc=0

	files
	"$QEDSETUP" create "$image" 1G
	setup_open --headroom 8M --low-water 8M
	size=$(size_of "$image")
	monitor "headroom = 8M" "chunk = 8M" "reserve = 1T"
	bg "$bin/blk" io "$dev" "write:0:$((32 * mb)):0x5a" flush
	guest=$!
	wait_for 60 told out-of-space
	wait_for 60 told failed
	wait_for 60 told file-system-low
	is "$(size_of "$image")" "$size" "the size"
	config "headroom = 8M" "chunk = 0"
	kill -HUP "$monitor"
	wait_for 60 logged "qed.conf: line 8: chunk: it cannot be 0; what was read before stays"
	kill -0 "$guest" || fail "the guest has ended"
	config "headroom = 8M" "chunk = 8M" "reserve = 0"
	kill -HUP "$monitor"
	wait "$guest" || rc=$?
	is "$rc" 0 "exit status of the guest"
	wait_for 60 told file-system
	stop
	io "$dev" "read:0:$((32 * mb)):0x5a"
	setup_close
	closed
}

t_file_system_full() {
	local guest rc=0

	files
	"$QEDSETUP" create "$image" 1G
	setup_open --headroom 200M
	fallocate -l $(($(stat -f -c '%a * %S' "$dir"))) "$dir/other"
	# what it keeps for root
	cat /dev/zero >"$dir/rest" 2>/dev/null || true
	monitor "headroom = 8M" "chunk = 8M" "reserve = 1M"
	bg "$bin/blk" io "$dev" "write:0:$((16 * mb)):0x5a" flush
	guest=$!
	wait_for 60 told out-of-space
	wait_for 60 told file-system-low
	kill -0 "$guest" || fail "the guest has ended"
	rm "$dir/other"
	wait "$guest" || rc=$?
	is "$rc" 0 "exit status of the guest"
	wait_for 60 told file-system
	wait_for 60 told space
	stop
	io "$dev" "read:0:$((16 * mb)):0x5a"
	setup_close
	# a write to a new cluster has failed: the end is only known after another scan
	setup_open
	scanned a
	setup_close
	closed
}

# group DEVICE: a volume group, and in it a volume of 8 MiB, $logical; without udev, and apart from
# others
group() {
	export LVM_SYSTEM_DIR=$tmp/lvm LVM_SUPPRESS_FD_WARNINGS=1
	mkdir -p "$LVM_SYSTEM_DIR"
	cat >"$LVM_SYSTEM_DIR/lvm.conf" <<-END
		devices {
			use_devicesfile = 0
			types = [ "nullb", 16 ]
			filter = [ "a|^/dev/nullb|", "a|^/dev/$pre|", "r|.*|" ]
		}
		activation {
			udev_sync = 0
			udev_rules = 0
			monitoring = 0
		}
		global {
			locking_dir = "$tmp/lvm/lock"
		}
	END
	lvm vgcreate -qq "$pre-g" "$1"
	lvm lvcreate -qq --yes --wipesignatures n --size 8M --name an-image "$pre-g"
	logical=/dev/mapper/${pre/-/--}--g-an--image
}

t_lvm() {
	local guest first rc=0

	need lvm lvextend
	null g 64
	first=$dev
	null h 256
	second=$dev
	group "$first"
	image "$logical" $((1024 * mb))
	qed a "$logical" low_water 128
	monitor "headroom = 8M" "chunk = 8M"
	io "$dev" "write:0:$((40 * mb)):0x5a"
	is "$(told_times failed)" 0 "failures"
	# more than the group has
	bg "$bin/blk" io "$dev" "write:$((40 * mb)):$((60 * mb)):0x5a" flush
	guest=$!
	wait_for 120 told failed
	wait_for 120 status_is a mode out_of_space
	wait_for 120 is_used
	lvm vgextend -qq "$pre-g" "$second"
	wait "$guest" || rc=$?
	is "$rc" 0 "exit status of the guest"
	io "$dev" "read:0:$((100 * mb)):0x5a"
	at_least "$(metric qed_size_bytes)" $((100 * mb)) "the size of the volume"
	is "$(blockdev --getsize64 "$logical")" "$(metric qed_size_bytes)" "the size of the volume"
	stop
}

# Has the volume all of its group?
is_used() {
	[ "$(lvm vgs --noheadings --nosuffix --units b -o vg_free "$pre-g" | tr -d ' ')" = 0 ]
}

# What cannot be made larger, and what is not to be
t_left_alone() {
	local rc=0

	null d 64
	image "$dev" $((1024 * mb))
	qed a "$dev"
	null e 64
	image "$dev" $((1024 * mb))
	qed b "$dev"
	sections=("[$pre-b]" "grow = no")
	monitor "headroom = 100M" "chunk = 100M"
	wait_for 60 told nobody
	is "$(told_times nobody)" 1 "how often it was told"
	logged "$pre-a: it needs more space, but is on nothing"
	"$QED_MONITOR" --config "$tmp/qed.conf" 2>"$tmp/second" || rc=$?
	is "$rc" 2 "exit status of a second monitor"
	matches "$(cat "$tmp/second")" "another qed-monitor is running" "what it says"
	stop
}

# One that is killed leaves nothing behind that keeps the next one from going on.
t_killed() {
	volume 24
	qed a "$dev" low_water 320
	monitor "headroom = 20M" "chunk = 20M" "command = $tmp/command"
	io "$dev" "write:0:$((8 * mb)):0x5a"
	wait_for 120 test -e "$tmp/begun"
	kill -KILL "$monitor"
	wait "$monitor" 2>/dev/null || true
	# the command goes on, but nobody tells the kernel
	touch "$tmp/go"
	wait_for 120 not test -e "$tmp/begun"
	monitor "headroom = 20M" "chunk = 20M" "command = $tmp/command"
	io "$dev" "write:$((8 * mb)):$((16 * mb)):0x5a"
	wait_for 120 not status_is a total 384
	stop
	[ ! -e "$tmp/begun" ] || fail "it has got more than it needs"
}

run \
	t_fifth "who writes a fifth of the headroom per second never waits for extends of 4 s" \
	t_events "the kernel tells of little space" \
	t_faster "who writes faster waits, goes on, and nothing fails" \
	t_file "a file, its file for Prometheus, and no more memory" \
	t_reserve "the reserve of a file system, and another configuration" \
	t_file_system_full "a file system that is full, and is not any more" \
	t_lvm "logical volumes, and a group that is full" \
	t_left_alone "what cannot be made larger, and a second monitor" \
	t_killed "killed while the volume becomes larger"
