#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# selftest.sh - tests of vm-run, as TAP: that it sees what it has to see
#
# Usage: selftest.sh [KERNEL [TEST...]]
#
# Provokes what may happen to a test machine and compares the exit status and
# the messages of vm-run. A TEST is a function of this script; default all.

set -eu

here=$(realpath "$(dirname "$0")")
tree=$(realpath "$here/../../..")
kernel=${1:-6.1}
chosen=" ${*:2} "
out=$tree/build/vm-selftest
# shellcheck source=../tap.sh
. "$here/../tap.sh"

# try NAME TEST: a check, if it is one of the chosen ones
try()
{
	[[ $chosen != *" $2 "* && $chosen != "  " ]] || check "$@"
}

# run NAME STATUS REGEX [OPTION...] -- COMMAND...
# vm-run exits with STATUS, and what it and COMMAND print, $said, matches REGEX
run()
{
	local name=$1 status=$2 regex=$3 got=0

	shift 3
	said=$("$here/vm-run" -k "$kernel" -c 1 -t 900 -o "$out/$name" "$@" 2>&1) ||
		got=$?
	[ "$got" -eq "$status" ] ||
		{ echo "exit status $got, expected $status: $said"; return 1; }
	grep -Eq "$regex" <<<"$said" ||
		{ echo "nothing matches '$regex': $said"; return 1; }
}

# What is in the machine's memory was put there when it started
# shellcheck disable=SC2016	# for the machine
in_memory()
{
	run programs 0 '/python3' --program python3 -- sh -c \
		'find "$(readlink -f "$(command -v python3)")" -cnewer "$VM_OUT/vm.config"' || return
	run programs 1 '' -- sh -c \
		'find "$(readlink -f "$(command -v python3)")" -cnewer "$VM_OUT/vm.config" | grep .'
}

# Make the module splat.ko, which warns when loaded
build_splat()
{
	local headers

	mkdir -p "$out/splat"
	cat >"$out/splat/splat.c" <<-'END'
		#include <linux/module.h>

		static int __init splat_init(void)
		{
			WARN(1, "on purpose");
			return 0;
		}
		module_init(splat_init);
		MODULE_LICENSE("GPL");
		MODULE_DESCRIPTION("warns when loaded");
	END
	echo "obj-m := splat.o" >"$out/splat/Kbuild"
	headers=$("$here/get-kernel" -b "$kernel")
	make -C "$headers" M="$out/splat" modules
}

# Two streams, an environment, the current folder and the kernel
exit_status()
{
	local release

	release=$(basename "$("$here/get-kernel" "$kernel")")
	# shellcheck disable=SC2016	# for the machine's shell
	run status 7 "^it's in $tree on ${release//+/\\+}\$" \
		--env $'WORD=one\nit\'s' -- sh -c 'printf "out "; printf "err " >&2
			echo "$WORD in $PWD on $(uname -r)"; exit 7' || return
	grep '^out err one' "$out/status/output.log"
}

# The results stay, all else that is written does not; what still runs when the
# command has ended does not delay the end
results()
{
	echo content >"$out/disk"
	truncate -s 1M "$out/disk"
	# shellcheck disable=SC2016	# for the machine's shell
	run results 3 '^read-only 1$' --disk "$out/disk:ro" -- sh -c '
		echo "read-only $(cat /sys/block/vda/ro)"
		head -c 7 /dev/vda >"$VM_OUT/result"
		echo lost >lost
		sleep 1000 & setsid sleep 1000 &
		exit 3'
	[ "$(cat "$out/results/result")" = content ]
	[ ! -e "$tree/lost" ] || { rm "$tree/lost"; return 1; }
}

# Each disk is of the kind that was asked for
disks()
{
	local nr args=() seen

	for nr in 2 4 6 8 32; do
		rm -f "$out/disk$nr"
		truncate -s "${nr}M" "$out/disk$nr"
	done
	args=(--disk "$out/disk2" --disk "$out/disk4:ro:4k" --disk "$out/disk6:scsi"
		--disk "$out/disk8:scsi:4k:ro" --disk "$out/disk32:pmem")
	# shellcheck disable=SC2016	# for the machine's shell
	run disks 0 '' "${args[@]}" -- sh -c '
		for dir in /sys/block/vd* /sys/block/sd* /sys/block/pmem*; do
			name=${dir##*/}
			[ "$(cat "$dir/queue/discard_max_bytes")" = 0 ] || unmaps=unmaps
			echo "$(cat "$dir/size") ${name%?} $(cat "$dir/queue/logical_block_size")" \
				"$(cat "$dir/ro") ${unmaps-}"
			unset unmaps
		done | sort -n >"$VM_OUT/seen"
		for dir in /dev/vda /dev/sd? /dev/pmem0; do
			echo "$(blockdev --getsize64 "$dir")" | dd of="$dir" conv=fsync
		done
		blkdiscard -o 1M -l 1M /dev/vda' || return
	seen=$(cat "$out/disks/seen")
	[ "$seen" = "4096 vd 512 0 unmaps
8192 vd 4096 1 unmaps
12288 sd 512 0 unmaps
16384 sd 4096 1 unmaps
65536 pmem 512 0 " ] || { echo "$seen"; return 1; }
	for nr in 2 6 32; do
		grep -aqx $((nr << 20)) "$out/disk$nr" || { echo "disk$nr has not got it"; return 1; }
	done
}

# A checkout below /tmp: the machine has a /tmp of its own
in_tmp()
{
	local copy

	copy=$(mktemp -d /tmp/dm-qed.XXXXXX)
	# shellcheck disable=SC2064	# now
	trap "rm -rf '$copy'" EXIT
	mkdir -p "$copy/tools/testing"
	cp -r "$here" "$here/../apt.sh" "$copy/tools/testing/"
	printf '#!/bin/sh\npwd\nexit 5\n' >"$copy/command"
	chmod +x "$copy/command"
	here=$copy/tools/testing/vm run tmp 5 "^$copy\$" -- "$copy/command"
}

splat()
{
	run splat 122 '^WARNING: .*splat_init' -- \
		insmod "$out/splat/splat.ko" &&
		grep -q '^ .*Call Trace:' <<<"$said"
}

allowed_splat()
{
	run allowed 0 '' --allow-splat 'WARNING: .*splat_init' -- \
		insmod "$out/splat/splat.ko"
	! ALLOW_SPLAT=other_function "$here/splats" \
		"$out/allowed/console.log" || return 1
}

panic()
{
	run panic 121 'died: Kernel panic - .*sysrq' -- \
		sh -c 'echo before; echo c >/proc/sysrq-trigger; sleep 100'
}

# QEMU itself ends at once, before it has opened anything
no_start()
{
	run start 121 'died: no word' --disk "$out" -- true
}

# The first time it dies before it comes to the command
died_early()
{
	mkdir -p "$out/early-bin"
	cat >"$out/early-bin/qemu-system-x86_64" <<-END
		#!/bin/sh
		mkdir "$out/early-bin/was" 2>/dev/null ||
			exec $(command -v qemu-system-x86_64) "\$@"
	END
	chmod +x "$out/early-bin/qemu-system-x86_64"
	rm -rf "$out/early-bin/was"
	PATH=$out/early-bin:$PATH run early 6 '^here$' -- sh -c 'echo here; exit 6' || return
	[ -d "$out/early-bin/was" ]
}

# The first one hangs while it starts.
hung_early()
{
	mkdir -p "$out/hung-bin"
	cat >"$out/hung-bin/qemu-system-x86_64" <<-END
		#!/bin/sh
		mkdir "$out/hung-bin/was" 2>/dev/null && exec sleep 1000
		exec $(command -v qemu-system-x86_64) "\$@"
	END
	chmod +x "$out/hung-bin/qemu-system-x86_64"
	rm -rf "$out/hung-bin/was"
	VM_START_LIMIT=120 PATH=$out/hung-bin:$PATH run hung 6 '^here$' -- \
		sh -c 'echo here; exit 6' || return
	[ -d "$out/hung-bin/was" ]
}

machine_gone()
{
	run gone 121 'died: no word' -- \
		sh -c 'echo b >/proc/sysrq-trigger; sleep 100'
}

time_limit()
{
	SECONDS=0
	run limit 124 'not done after 100 seconds' -t 100 -- sleep 1000
	[ "$SECONDS" -lt 500 ] || { echo "took $SECONDS seconds"; return 1; }
	grep -q 'sleep 1000' "$out/limit/console.log" ||
		{ echo "no report of what hung"; return 1; }
}

# Wait, but not for ever, until a machine runs (or, with "no", none does)
machine()
{
	local _ found

	for _ in {1..3000}; do
		found=yes
		pgrep -f "qemu-system.*$out/killed/" >/dev/null || found=no
		[ "$found" != "$1" ] || return 0
		sleep 0.1
	done
	echo "is a machine running? $found, expected $1"
	return 1
}

# When vm-run is ended by a signal, even by one that cannot be caught, the
# machine ends, too
no_survivor()
{
	local signal pid

	for signal in TERM KILL; do
		"$here/vm-run" -k "$kernel" -o "$out/killed" -- sleep 1000 \
			>/dev/null &
		pid=$!
		machine yes
		kill -s "$signal" "$pid"
		wait "$pid" || true
		machine no
	done
}

# One folder for the logs of two machines: one of them is refused, and nothing is
# written to the kernel, to which there is a link for a moment
two_at_once()
{
	local jobs=() job codes='' link said

	for job in 1 2; do
		timeout 1800 "$here/vm-run" -k "$kernel" -c 1 -t 900 -o "$out/two" \
			--module "$out/splat/splat.ko" -- sleep 3 >"$out/two.$job" 2>&1 &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" && codes+="0 " || codes+="$? "
	done
	for link in "$("$here/get-kernel" "$kernel")"/lib/modules/*/kernel/kernel; do
		[ ! -L "$link" ] || { rm "$link"; echo "$link was made"; return 1; }
	done
	case $codes in
	'0 120 ' | '120 0 ') ;;
	*) echo "exit status ${codes}of the two, expected 0 and 120"; return 1 ;;
	esac
	grep -q 'in use by another machine' "$out"/two.[12] || return 1
	said=$(flock "$out/lock" "$here/uml-run" -o "$out" -- true 2>&1) && return 1
	grep 'in use by another machine' <<<"$said"
}

setup_errors()
{
	run kernel 120 'needs one lib/modules' -k /nonexistent/ -- true
	run command 120 'no such command' -- /nonexistent
	run number 120 'needs a number' -m x -- true
	run nodisk 120 'no such file' --disk /nonexistent:4k -- true
	run pmem 120 'can only be as it is' --disk "$here/vm-run:pmem:ro" -- true
}

# Each of these lines is a report of a bug to the program splats
splat_lines()
{
	local line

	while read -r line; do
		if printf '[    1.5] fine\n[    2.5] %s\n' "$line" |
		   "$here/splats" >"$out/line"; then
			echo "passed over: $line"
			return 1
		fi
		[ "$(cat "$out/line")" = "$line" ] || return 1
	done <<-'END'
		WARNING: CPU: 0 PID: 1 at fs/inode.c:1 f+0x1/0x2
		WARNING: possible circular locking dependency detected
		WARNING: suspicious RCU usage
		BUG: kernel NULL pointer dereference, address: 0000000000000008
		BUG: KASAN: slab-out-of-bounds in f+0x1/0x2
		BUG: KCSAN: data-race in f / g
		BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0
		workqueue: work func f [m] enqueued on deprecated workqueue. Use g instead.
		workqueue: name exceeds WQ_NAME_LEN. Truncating to: dm-qed
		BUG: sleeping function called from invalid context at mm/x.c:1
		BUG dm_cell (Not tainted): Objects remaining in dm_cell
		kernel BUG at mm/slub.c:1!
		UBSAN: shift-out-of-bounds in a.c:1:2
		Oops: 0000 [#1] PREEMPT SMP
		general protection fault, probably for non-canonical address
		INFO: task dmsetup:1 blocked for more than 60 seconds.
		INFO: possible recursive locking detected
		watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:1]
		rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
		refcount_t: underflow; use-after-free.
		list_add corruption. prev->next should be next
		fio: page allocation failure: order:0, mode:0x0
		Out of memory: Killed process 1 (sh)
		Kernel panic - not syncing: Fatal exception
		Call Trace:
	END
}

# These are not
quiet_lines()
{
	"$here/splats" <<-'END'
		[    1.5] virtio: loading out-of-tree module taints kernel.
		[    1.5] device-mapper: table: 254:0: qed: DEBUG WARN bugs INFO
		[    1.5][  T12] I/O error, dev loop0, sector 0 op 0x0:(READ)
		[    1.5] Spectre V2 : Mitigation: Retpolines
	END
}

mkdir -p "$out"
try "kernel bug reports are recognized" splat_lines
try "other messages are not" quiet_lines
try "setup errors" setup_errors
try "exit status, output and environment" exit_status
try "disk, folder of results, processes left over" results
try "disks of all kinds" disks
try "a command below /tmp" in_tmp
try "a program in memory" in_memory
try "build of a module that warns" build_splat
try "two machines with one folder" two_at_once
try "a warning of the kernel fails the run" splat
try "unless it is expected" allowed_splat
try "panic" panic
try "machine that cannot start" no_start
try "machine that dies while it starts, once" died_early
try "machine that hangs while it starts, once" hung_early
try "reset without a word" machine_gone
try "time limit" time_limit
try "no machine survives its vm-run" no_survivor
tap_end
