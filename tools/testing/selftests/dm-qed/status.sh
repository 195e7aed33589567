#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Status, table and messages.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536

t_info() {
	null a 128
	disk=$dev
	image "$disk" $((64 * mb - 512))
	qed q "$disk"
	is "$(blk dm status "$pre-q")" \
		"0 $((64 * mb / 512 - 1)) qed 128 5/2048 0/1024 0/64 0 0 0 rw - 2043/0/0 0 - - - 0 -" \
		"the status"
	# a cluster and a table of four
	io "$dev" write:0:512:1
	is "$(status q used)" 10 "used clusters"
	is "$(status q mapped)" 1 "mapped clusters"
	is "$(status q cached)" 4 "cached KiB"
	is "$(status q needs_check)" needs_check "NEED_CHECK"
	# the cluster at the end, of which the guest has less than all
	io "$dev" write:$((64 * mb - 1024)):512:2 write:$((64 * mb - 2048)):512:2
	is "$(status q mapped)" 2 "mapped clusters"
	io "$dev" flush
	is "$(status q dirty)" 0 "dirty blocks"
	at_least "$(status q commits)" 1 "commits"
	dm_suspend q
	is "$(status q used)" - "used clusters when suspended"
	is "$(status q cached)" 0 "cached KiB when suspended"
	dm_resume q
	is "$(status q used)" 11 "used clusters"
	is "$(status q mapped)" 2 "mapped clusters"
}

t_unknown() {
	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	qed_at_once q "$disk" zeroed_from 5
	io "$dev" write:0:$((4 * c)):1
	scanned q
	is "$(status q used)" 13 "used clusters after the background scan"
	is "$(status q mapped)" 4 "mapped clusters after the background scan"
	dm_remove q
	qed q "$disk" read_only
	is "$(status q used)" - "used clusters with read_only"
	is "$(status q mapped)" - "mapped clusters with read_only"
	is "$(status q mode)" ro "the mode with read_only"
}

# lines OPTIONS EXPECTED: the table, and that it loads again
lines() {
	local got

	# shellcheck disable=SC2086
	qed q "$disk" $1
	got=$(blk dm table "$pre-q")
	is "$got" "0 131072 qed $majmin${2:+ $2}" "the table for '$1'"
	dm_load q "$got"
	dm_resume q
	is "$(blk dm table "$pre-q")" "$got" "the table, loaded again,"
	dm_remove q
}

t_table() {
	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	majmin=$(cat "/sys/class/block/${disk#/dev/}/dev")
	lines "" ""
	lines "read_only" "1 read_only"
	lines "zeroed_from 5" ""
	lines "cache_kib 128 zeroed_from 5" "2 cache_kib 128"
	lines "commit_interval 0" "2 commit_interval 0"
	lines "no_discard_passdown ignore_discard" "2 ignore_discard no_discard_passdown"
	lines "zero_ahead 0" ""
	lines "takeover" ""
	lines "known_zeroes" "1 known_zeroes"
	lines "host A-9.z_" "2 host A-9.z_"
	lines "takeover known_zeroes no_discard_passdown zero_ahead 9 low_water 10 error_if_no_space host h ignore_discard commit_interval 7 cache_kib 64" \
		"14 cache_kib 64 commit_interval 7 error_if_no_space low_water 10 ignore_discard no_discard_passdown known_zeroes zero_ahead 9 host h"
}

t_message() {
	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	qed q "$disk" commit_interval 3600000
	io "$dev" write:0:512:1
	is "$(status q dirty)" 2 "dirty blocks"
	commit q
	is "$(status q dirty)" 0 "dirty blocks after the message"
	refused dmsetup message "$pre-q" 0 bogus
	refused dmsetup message "$pre-q" 0 commit now
	matches "$(kmsg)" 'unrecognised message bogus' "the kernel's log"
	dm_suspend q
	commit q
	dm_resume q
}

ima=/sys/kernel/security/ima

# loads: the tables that IMA has measured
loads() {
	awk '$5 == "dm_table_load" { print $6 }' "$ima/ascii_runtime_measurements"
}

# With a policy that asks for it the kernel measures each table that is loaded. There is
# no way back from a policy, nor to another one: that may be of an earlier run.
t_ima() {
	local measured before

	[ -n "${VM_OUT-}" ] || skip "a policy for IMA is for a virtual machine only"
	before=$(loads | wc -l)
	if [ "$before" = 0 ]; then
		[ -w "$ima/policy" ] || skip "IMA takes no policy"
		echo "measure func=CRITICAL_DATA label=device-mapper" >"$ima/policy"
	fi
	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	majmin=$(cat "/sys/class/block/${disk#/dev/}/dev")
	qed q "$disk" cache_kib 128 low_water 5
	measured=$(loads | tail -n "+$((before + 1))" | xxd -r -p)
	matches "$measured" "target_name=qed,target_version=[0-9.]+,image_device_name=$majmin,cluster_sectors=128,image_sectors=131072,read_only=n,cache_kib=128,commit_interval=1000,error_if_no_space=n,low_water=5,ignore_discard=n,no_discard_passdown=n,known_zeroes=n,zero_ahead=0,host=[A-Za-z0-9._-]+,layer_device_names=-,backing_device_name=-;" \
		"what IMA has measured"
}

mountpoint -q /sys/kernel/security ||
	mount -t securityfs none /sys/kernel/security 2>/dev/null || true
# where IMA is a part of the kernel
if [ -d "$ima" ]; then
	cases=(t_ima "what IMA measures")
fi

run t_info "the numbers of the status line" \
	t_unknown "numbers that are not known" \
	t_table "the table that is reported loads again" \
	t_message "messages" \
	${cases[@]+"${cases[@]}"}
