# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common parts of the dm-qed tests.
#
# A test defines functions and gives them to run() with a description each. Every
# function is run in a subshell of its own with "set -e": the first command that
# fails makes it fail. Devices, mounts and processes made with the functions here
# are gone afterwards, whatever happens.

set -u

here=$(dirname "$(readlink -f "$0")")
bin=${OUTPUT:-$here}			# blk and hammer
QEDIMG=${QEDIMG:-$here/../../qedimg/qedimg.py}
QED_FSCK=${QED_FSCK:-$here/../../../../build/qed/qed-fsck}
PATH=$PATH:/usr/sbin:/sbin

ksft_fail=1
ksft_skip=4

test_name=$(basename "$0" .sh)
pre=qedt$$				# all our devices are named so
tmp=					# our tmpfs
keep=					# a directory in it
mb=$((1 << 20))

# Without a udev daemon nobody makes the nodes, and nobody acknowledges them.
if [ ! -S /run/udev/control ]; then
	export DM_DISABLE_UDEV=1
fi

#
# Verdicts
#

note() {
	echo "$*"
}

fail() {
	echo "FAILED: $*"
	exit $ksft_fail
}

skip() {
	echo "SKIP: $*"
	exit $ksft_skip
}

# is GOT EXPECTED WHAT
is() {
	[ "$1" = "$2" ] || fail "$3 is '$1', expected '$2'"
}

# at_most GOT LIMIT WHAT
at_most() {
	[ "$1" -le "$2" ] || fail "$3 is $1, expected at most $2"
}

# at_least GOT LIMIT WHAT
at_least() {
	[ "$1" -ge "$2" ] || fail "$3 is $1, expected at least $2"
}

# matches TEXT REGEX WHAT: does one of the lines, in any case?
matches() {
	local line

	shopt -s nocasematch
	while read -r line; do
		if [[ $line =~ $2 ]]; then
			shopt -u nocasematch
			return
		fi
	done <<<"$1"
	fail "$3 is '$1', expected /$2/"
}

# refused COMMAND...: it has to fail, quietly
refused() {
	if "$@" >"$tmp/lib/refused" 2>&1; then
		fail "worked, but should have failed: $*"
	fi
}

# need COMMAND...: skip without these programs
need() {
	local program

	for program; do
		type -P "$program" >/dev/null || skip "no $program"
	done
}

# need_target TARGET: skip without this target of device mapper
need_target() {
	modprobe -q "dm-$1" || true
	dmsetup targets | grep -q "^$1 " || skip "no dm-$1"
}

# wait_for SECONDS COMMAND...: until it succeeds, or fail when it has been looked at so often as fits
# in that time: a machine that is slow, or stands still for a while, gets more of it
wait_for() {
	local looks=$(($1 * 20))

	shift
	until "$@"; do
		[ $((looks--)) -gt 0 ] || fail "waited in vain for: $*"
		sleep 0.05
	done
}

#
# The kernel's log
#

log_mark=0

# kmsg_mark: what the kernel says from here on is kmsg's
kmsg_mark() {
	log_mark=$test_name.$$.$RANDOM.${EPOCHREALTIME/./}
	echo "dm-qed selftest: $log_mark" >/dev/kmsg
}

kmsg() {
	blk kmsg "dm-qed selftest: $log_mark"
}

# Signs of a bug, in any kernel we run on
splats='BUG:|WARNING:|Oops|KASAN|KCSAN|UBSAN|general protection|unable to handle'
splats+='|(possible|inconsistent|bad) .*(lock|context)|suspicious RCU|blocked for more than'
splats+='|stall on CPU|self-detected stall|soft lockup|hard LOCKUP|memory leak|use-after-free'
splats+='|refcount_t|list_(add|del) corruption|DEBUG_LOCKS|scheduling while atomic'
splats+='|deprecated workqueue|workqueue: (name exceeds|max_active )'

#
# Running tests
#

# often SHORT LONG: the first of these numbers, or the second one if LONG is set in the environment
often() {
	[ -z "${LONG:-}" ] || shift
	echo "$1"
}

# run FUNCTION DESCRIPTION [FUNCTION DESCRIPTION]...
# A function may come with arguments: "t_cluster 4096". What prepare() leaves in
# $keep, if the test has such a function, stays for all of them.
# ONLY="function..." in the environment chooses some of them, by these names alone.
run() {
	local total=$(($# / 2 + 1)) nr=0 failed=0 skipped=0 rc start ms name

	echo "TAP version 13"
	if ! setup; then
		echo "1..0 # SKIP $setup_error"
		exit $ksft_skip
	fi
	echo "1..$total"
	kmsg_mark
	local first_mark=$log_mark
	if declare -F prepare >/dev/null && ! prepare >"$tmp/lib/log" 2>&1; then
		sed 's/^/# /' "$tmp/lib/log"
		echo "Bail out! prepare failed"
		exit $ksft_fail
	fi

	while [ $# -gt 1 ]; do
		nr=$((nr + 1))
		name=${1#counts }
		if [ -n "${ONLY:-}" ] && [[ " $ONLY " != *" ${name%% *} "* ]]; then
			echo "ok $nr $2 # SKIP not chosen"
			shift 2
			continue
		fi
		start=${EPOCHREALTIME/./}
		kmsg_mark
		run_one "$1" >"$tmp/lib/log" 2>&1 </dev/null
		rc=$?
		ms=$(((${EPOCHREALTIME/./} - start) / 1000))
		diagnostics
		case $rc in
		0)
			echo "ok $nr $2 # $ms ms"
			;;
		"$ksft_skip")
			echo "ok $nr $2 # SKIP $(sed -n 's/^SKIP: //p' "$tmp/lib/log")"
			skipped=$((skipped + 1))
			;;
		*)
			failed=$((failed + 1))
			kmsg | tail -n 30 | sed 's/^/# kernel: /'
			echo "not ok $nr $2 # $ms ms"
			;;
		esac
		if ! release >"$tmp/lib/log" 2>&1; then
			diagnostics
			failed=$((failed + 1))
		fi
		shift 2
	done

	log_mark=$first_mark
	kmsg | grep -E "$splats" >"$tmp/lib/splats"
	if [ -s "$tmp/lib/splats" ]; then
		kmsg | grep -E -A 25 "$splats" | head -n 100 | sed 's/^/# kernel: /'
		failed=$((failed + 1))
		echo "not ok $total the kernel has no complaint"
	else
		echo "ok $total the kernel has no complaint"
	fi
	[ $failed = 0 ] || exit $ksft_fail
	[ $skipped -lt $((total - 1)) ] || exit $ksft_skip
	exit 0
}

diagnostics() {
	local line nr=0

	while read -r line && [ $((nr++)) -lt 200 ]; do
		echo "# $line"
	done <"$tmp/lib/log"
}

# The errexit of a subshell works only if nobody looks at its status.
run_one() {
	(
		set -eE
		trap 'echo "line $LINENO: status $? of: $BASH_COMMAND"' ERR
		# shellcheck disable=SC2086	# the function and its arguments
		$1
	)
}

setup() {
	setup_error=
	if [ "$(id -u)" != 0 ]; then
		setup_error="must be run as root"
	elif ! type -P dmsetup losetup python3 >/dev/null; then
		setup_error="needs dmsetup, losetup and python3"
	elif ! load_module; then
		setup_error="no dm-qed module"
	elif ! [ -x "$bin/hammer" ] || ! [ -x "$bin/blk" ]; then
		setup_error="the programs are not built, run make"
	elif ! [ -x "$QED_FSCK" ]; then
		setup_error="qed-fsck is not built, run make tools"
	fi
	[ -z "$setup_error" ] || return 1

	tmp=$(mktemp -d /tmp/dm-qed.XXXXXX)
	mount -t tmpfs -o size=90% none "$tmp"
	keep=$tmp/keep
	mkdir "$tmp/lib" "$tmp/mnt" "$keep"
	[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
	: >"$tmp/lib/pids"
	: >"$tmp/lib/loops"
	: >"$tmp/lib/later"
	trap finish EXIT
	trap 'exit 1' INT TERM HUP
}

finish() {
	local rc=$?

	trap '' INT TERM HUP
	release
	umount -l "$tmp" && rmdir "$tmp"
	exit $rc
}

# Undo everything. Says what did not work.
release() {
	local pid i dev dir command failed=0 mounts=() files=()

	while read -r pid; do
		kill -KILL "$pid" 2>/dev/null
	done <"$tmp/lib/pids"
	: >"$tmp/lib/pids"

	while read -r _ dir _; do
		[[ $dir != "$tmp"/* ]] || mounts=("$dir" "${mounts[@]}")
	done </proc/mounts
	[ ${#mounts[@]} = 0 ] || umount -l "${mounts[@]}"

	resume_all
	for i in {1..20}; do
		list_dm
		[ ${#dms[@]} != 0 ] || break
		for dev in "${dms[@]}"; do
			# queued writes end when the table is replaced
			[ "$i" = 1 ] || timeout 20 "$bin/blk" dm wipe "$dev"
			timeout 20 "$bin/blk" dm remove "$dev"
		done >/dev/null 2>"$tmp/lib/remove.err"
		[ "$i" -lt 3 ] || sleep 0.1
	done
	if [ ${#dms[@]} != 0 ]; then
		echo "left behind: ${dms[*]}: $(cat "$tmp/lib/remove.err")"
		failed=1
	fi

	while read -r command; do
		$command || failed=1
	done < <(tac "$tmp/lib/later")
	: >"$tmp/lib/later"

	while read -r dev; do
		blk loop del "$dev" || failed=1
	done <"$tmp/lib/loops"
	: >"$tmp/lib/loops"

	for dir in /sys/kernel/config/nullb/"$pre"*; do
		[ -d "$dir" ] || continue
		echo 0 >"$dir/power"
		rmdir "$dir" || failed=1
	done

	for dir in "$tmp"/*; do
		case ${dir##*/} in
		lib | mnt | keep) ;;
		*) files+=("$dir") ;;
		esac
	done
	[ ${#files[@]} = 0 ] || rm -rf "${files[@]}"
	return $failed
}

# Sets $dms to our dm devices, upper ones first
list_dm() {
	mapfile -t dms < <(exec "$bin/blk" dm list "$pre")
}

# What a test has left suspended: what is above would wait for it when it is removed
resume_all() {
	local dir name

	for dir in /sys/block/dm-*/dm; do
		[ -d "$dir" ] || continue
		name=$(<"$dir/name")
		[[ $name == "$pre"* && $(<"$dir/suspended") = 1 ]] || continue
		timeout 20 "$bin/blk" dm resume "$name" || true
	done
}

# bg PROGRAM...: in the background; its process id is in $!. No function of the shell: the program it
# runs would outlive it.
bg() {
	"$@" &
	echo $! >>"$tmp/lib/pids"
}

# later COMMAND...: when the test has ended and its dm devices are gone, the last one first
later() {
	echo "$*" >>"$tmp/lib/later"
}

#
# The module
#

# Loads ours from DM_QED_KO, or the installed one.
load_module() {
	dmsetup targets 2>/dev/null | grep -q '^qed ' && return 0
	modprobe -q dm-mod
	if [ -n "${DM_QED_KO:-}" ]; then
		insmod "$DM_QED_KO"
	else
		modprobe -q dm-qed
	fi
	dmsetup targets | grep -q '^qed '
}

#
# Lower devices
#

# null NAME MIB [ATTRIBUTE=VALUE]...: a null_blk disk with memory; sets $dev
null() {
	local dir=/sys/kernel/config/nullb/$pre$1 arg

	modprobe -q null_blk nr_devices=0 2>/dev/null || true
	[ -d /sys/kernel/config/nullb ] || mount -t configfs none /sys/kernel/config 2>/dev/null
	[ -d /sys/kernel/config/nullb ] || skip "no null_blk"
	mkdir "$dir"
	for arg in memory_backed=1 size="$2" submit_queues="$(nproc)" "${@:3}"; do
		echo "${arg#*=}" >"$dir/${arg%%=*}" || skip "null_blk: no $arg"
	done
	null_on "$1"
}

# null_on NAME: switch it on, also after null_off; sets $dev
null_on() {
	local dir=/sys/kernel/config/nullb/$pre$1

	echo 1 >"$dir/power"
	dev=/dev/$pre$1
	[ -e "/sys/block/$pre$1" ] || dev=/dev/nullb$(cat "$dir/index")
	wait_for 5 test -b "$dev"
}

# null_off NAME: cut the power; what is not flushed is lost if it has a cache
null_off() {
	echo 0 >"/sys/kernel/config/nullb/$pre$1/power"
}

# null_del NAME: remove the disk, which gives its memory back
null_del() {
	null_off "$1"
	rmdir "/sys/kernel/config/nullb/$pre$1"
}

# null_bad NAME +FROM-TO: fail I/O to these sectors; -FROM-TO ends it
null_bad() {
	echo "$2" >"/sys/kernel/config/nullb/$pre$1/badblocks"
}

# loop FILE [ro] [BLOCKSIZE]: a loop device; sets $dev
loop() {
	[ -e /dev/loop-control ] || modprobe -q loop
	dev=$("$bin/blk" loop add "$@")
	echo "$dev" >>"$tmp/lib/loops"
}

# unloop DEVICE: and wait until it is gone
unloop() {
	local loops line

	blk loop del "$1"
	mapfile -t loops <"$tmp/lib/loops"
	for line in "${loops[@]}"; do
		[ "$line" = "$1" ] || echo "$line"
	done >"$tmp/lib/loops"
}

# load MODULE [PARAMETER=VALUE]...: until the test has ended
load() {
	modprobe -q "$@" || skip "no $1"
	later modprobe -r "$1"
}

# disks PATTERN: the disks of /sys with such a path
disks() {
	compgen -G "$1/block/*"
}

# scsi [PARAMETER=VALUE]...: a disk of scsi_debug; sets $disk
scsi() {
	local dir="/sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*"

	# which stays: without it the kernel counts the hosts from 0 again, where one may be left
	modprobe -q sd_mod
	load scsi_debug delay=0 dev_size_mb=64 "$@"
	wait_for 10 disks "$dir" >/dev/null
	disk=$(disks "$dir")
	disk=/dev/${disk##*/}
	wait_for 10 test -b "$disk"
}

not() {
	! "$@" >/dev/null 2>&1
}

sectors_of() {
	blk sectors "$1"
}

# dm NAME TABLE [ro]: a device; sets $dev
dm() {
	dev=$("$bin/blk" dm create "$pre-$1" "${@:3}" <<<"$2")
}

# dm_load NAME TABLE; dm_suspend NAME [noflush]; dm_resume NAME, also until an image has been
# scanned; dm_remove NAME
dm_load() {
	blk dm load "$pre-$1" <<<"$2"
}

dm_suspend() {
	blk dm suspend "$pre-$1" "${@:2}"
}

dm_resume() {
	blk dm resume "$pre-$1" && settle "$1"
}

dm_remove() {
	blk dm remove "$pre-$1"
}

# dm_swap NAME TABLE: change it under its users
dm_swap() {
	blk dm swap "$pre-$1" <<<"$2" && settle "$1"
}

# under_way DEVICE: is there a read or write that has not ended? For wait_for. What dm-delay keeps
# back counts for those above it.
under_way() {
	local s

	read -ra s <"/sys/class/block/$(basename "$(readlink -f "$1")")/inflight"
	[ $((s[0] + s[1])) -gt 0 ]
}

# linear NAME DEVICE [SECTORS]: a layer to be changed later; sets $dev
linear() {
	dm "$1" "0 ${3:-$(sectors_of "$2")} linear $2 0"
}

# fail_writes NAME DEVICE FROM TO: of the layer over this device, fail the writes to these sectors,
# and all flushes; reads go on
fail_writes() {
	local end table=

	end=$(sectors_of "$2")
	[ "$3" = 0 ] || table+="0 $3 linear $2 0"$'\n'
	table+="$3 $(($4 - $3)) flakey $2 $3 0 100000000 1 error_writes"
	[ "$4" -ge "$end" ] || table+=$'\n'"$4 $((end - $4)) linear $2 $4"
	modprobe -q dm-flakey || true
	dm_swap "$1" "$table"
}

# to_fail_flushes [TARGET ARGUMENT...]: what takes the most time of fail_flushes, which comes soon
to_fail_flushes() {
	local end keep=$dev target="${*:-linear $disk 0}"

	end=$(sectors_of "$disk")
	null f 1 cache_size=1
	dm_load l "0 $end $target"$'\n'"$end 8 linear $dev 0"
	dev=$keep
}

# fail_flushes [TARGET ARGUMENT...]: the layer l over $disk gets a second part, which is dead: only
# flushes see it. The first part may be something else than linear.
fail_flushes() {
	[ -d "/sys/kernel/config/nullb/${pre}f" ] || to_fail_flushes "$@"
	dm_suspend l
	blk dm resume "$pre-l"
	null_off f
}

# repair: that layer is whole again, and all of it works
repair() {
	dm_swap l "0 $(sectors_of "$disk") linear $disk 0"
}

# garbage DEVICE MIB: what a recycled device may have in it
garbage() {
	io "$1" "write:0:$(($2 * mb)):0xa5"
}

# io_counts DEVICE: number of reads, writes, flushes and of sectors written
io_counts() {
	local s

	read -ra s <"/sys/class/block/$(basename "$(readlink -f "$1")")/stat"
	echo "${s[0]} ${s[4]} ${s[15]} ${s[6]}"
}

# io_start DEVICE, io_end DEVICE: set reads, writes, flushes and wsectors to what came in between
io_start() {
	io_base=$(io_counts "$1")
}

io_end() {
	local a b

	read -ra a <<<"$io_base"
	read -ra b < <(io_counts "$1")
	reads=$((b[0] - a[0]))
	flushes=$((b[2] - a[2]))
	# the kernel counts a flush alone as a write, too
	writes=$((b[1] - a[1] - flushes))
	wsectors=$((b[3] - a[3]))
	note "lower I/O: $reads reads, $writes writes of $wsectors sectors, $flushes flushes"
}

# has_read DEVICE NUMBER: have so many reads ended since io_start? For wait_for
has_read() {
	io_end "$1" >/dev/null
	[ "$reads" -ge "$2" ]
}

# counts FUNCTION [ARGUMENT]...: a test that counts, or for which NEED_CHECK has to stay. If it took so
# long that this may have been cleared in between, and set again, its failure says nothing: once more.
counts() {
	local i rc start

	for i in {1..5}; do
		start=${EPOCHREALTIME/./}
		set +e
		(
			set -eE
			"$@"
		)
		rc=$?
		set -e
		[ "$rc" != 0 ] && [ $((${EPOCHREALTIME/./} - start)) -gt 5000000 ] || return "$rc"
		note "slower than an idle device, once more"
		release
	done
	fail "always slower than an idle device"
}

#
# Images
#

# image FILE BYTES [CLUSTER [TABLE [FEATURES]]]: an empty image, in a file or on a zeroed device
# (qedimg create takes a second where the processor is emulated)
image() {
	blk image "$1" "$2" "${3:-65536}" "${4:-4}" "${5:-0}"
}

# is_dirty IMAGE: is NEED_CHECK set?
is_dirty() {
	[ $(($(blk u64 "$1" 16) & 2)) != 0 ]
}

is_clean() {
	! is_dirty "$1"
}

# has_record IMAGE: is bit 63 set, which makes a record of what is there?
has_record() {
	[ $(($(blk u64 "$1" 32) >> 63 & 1)) = 1 ]
}

# is_active IMAGE: does its record say that somebody has it?
is_active() {
	has_record "$1" && [ $(($(blk u64 "$1" 384) >> 48 & 1)) = 1 ]
}

# no_record IMAGE: it has none any more, as after somebody has written who does not know it
no_record() {
	blk poke "$1" 32 0
}

# qedimg ARGUMENT...
qedimg() {
	"$QEDIMG" "$@"
}

# examine IMAGE: sets $json to what qed-fsck says of it
examine() {
	# the page cache does not know what the module writes
	[ ! -b "$1" ] || blockdev --flushbufs "$1"
	json=$("$QED_FSCK" -nf --force --json "$1" 2>&1) || true
	[[ $json == *'"check-errors":0,'*'"exit-status":'[04]'}' ]] ||
		fail "$1 was not examined: $json"
}

# member NAME: a number in $json
member() {
	[[ $json =~ \"$1\":([0-9]+) ]] || fail "no $1: $json"
	echo "${BASH_REMATCH[1]}"
}

# sound IMAGE: its structure has no defect; in a file, what is free may count as a leak
sound() {
	local json

	examine "$1"
	[ "$(member corruptions)" = 0 ] || fail "the structure of $1 has defects: $json"
	note "clusters: $(member used-clusters) used, $(member allocated-clusters) mapped"
}

#
# The target
#

# table DEVICE [OPTION]...: a table line
table() {
	local options=("${@:2}")

	echo "0 $(($("$bin/blk" u64 "$1" 48) / 512)) qed $1 ${#options[@]} ${options[*]}"
}

# qed NAME DEVICE [OPTION]...: activate an image, and wait until it has been scanned; sets $dev
qed() {
	qed_at_once "$@" && settle "$1"
}

# qed_at_once NAME DEVICE [OPTION]...: the same, but a scan may go on
qed_at_once() {
	dm "$1" "$(table "${@:2}")"
}

# is_scanning NAME: does a scan go on in the background?
is_scanning() {
	local s

	read -ra s < <(exec "$bin/blk" dm status "$pre-$1")
	[ "${s[2]-}" = qed ] && [[ ${s[16]-} == */* ]]
}

# settle NAME: wait for the end of a scan, whatever it has found
settle() {
	blk dm settle "$pre-$1"
}

# refuse NAME TABLE: activation has to fail; sets $error to the kernel's log
refuse() {
	kmsg_mark
	if blk dm create "$pre-$1" >"$tmp/lib/refused" 2>&1 <<<"$2"; then
		fail "activated, but should not be: $2"
	fi
	error=$(kmsg)
}

# qed_refused NAME DEVICE [OPTION]...: activation has to fail; sets $error
qed_refused() {
	refuse "$1" "$(table "${@:2}")"
}

# qed_reload NAME DEVICE [OPTION]...
qed_reload() {
	dm_load "$1" "$(table "${@:2}")"
	dm_resume "$1"
}

# get NAME: sets the words of the status line, by name
# shellcheck disable=SC2034	# which ones are used depends on the test
get() {
	local s

	read -ra s < <(exec "$bin/blk" dm status "$pre-$1")
	cluster=${s[3]}
	used=${s[4]%/*}
	total=${s[4]#*/}
	mapped=${s[5]%/*}
	virtual=${s[5]#*/}
	cached=${s[6]%/*}
	limit=${s[6]#*/}
	dirty=${s[7]}
	inflight=${s[8]}
	commits=${s[9]}
	mode=${s[10]}
	needs_check=${s[11]}
	free=${s[12]%%/*}
	zeroed=${s[12]#*/}
	zeroed=${zeroed%/*}
	reclaiming=${s[12]##*/}
	queued=${s[13]}
	trim=${s[14]}
	check=${s[15]}
	scan=${s[16]}
	ahead=${s[17]}
	below=${s[18]}
}

# status NAME FIELD: one of them, for $(...)
status() {
	get "$1"
	echo "${!2}"
}

# status_is NAME FIELD VALUE: for wait_for
status_is() {
	[ "$(status "$1" "$2")" = "$3" ]
}

commit() {
	dmsetup message "$pre-$1" 0 commit
}

events() {
	blk dm events "$pre-$1"
}

# scanned NAME: wait until a scan in the background has succeeded
scanned() {
	wait_for 30 not status_is "$1" used -
}

#
# I/O
#

blk() {
	"$bin/blk" "$@"
}

# io DEVICE COMMAND...: direct I/O, see blk.c
io() {
	blk io "$@"
}

# hammer ARGUMENT...
hammer() {
	"$bin/hammer" "$@"
}

# run_fio ARGUMENT...: quiet unless it fails
run_fio() {
	fio --output="$tmp/lib/fio.log" --direct=1 --ioengine=libaio --thread --group_reporting \
		--randrepeat=1 "$@" >"$tmp/lib/fio.err" 2>&1 || {
		cat "$tmp/lib/fio.err" "$tmp/lib/fio.log"
		fail "fio $*"
	}
}

# fio_trims LOG: how many trims fio has issued
fio_trims() {
	sed -n 's/.*issued rwts: total=[0-9]*,[0-9]*,\([0-9]*\),.*/\1/p' "$1"
}
