#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The image device fails for a while under load, and another table is loaded, while
# discards and zeroes of the table before may still be on their way. What was flushed is
# there, and nothing is anywhere that was not written there.
# RELOAD_ROUNDS in the environment says how often, 3 times by default.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

size=16384				# a cluster
units=96				# of the guest's disk
sectors=$(((1 + 1 + 1 + units + 6) * size / 512))	# of the image device
disk=					# what is below all layers
lower=					# the layer below the target
others=()				# the first one, and another one over the same
failures=(writes flushes all)		# as they take turns
worker=					# a hammer
resumer=				# who has resumed the device

# discards: a device on which discards, and all writes, can take an hour in the second half, or until
# it is fast again
prepare_discards() {
	need_target delay
	# with a cache, or there are no flushes
	null a 4 discard=1 cache_size=1
	disk=$dev
	linear f "$disk" "$sectors"
	below=$dev
	linear slow "$below"
	others=("$dev")
	linear fast "$below"
	others+=("$dev")
}

slow_discards() {
	local half=$((sectors / 2))
	local part="$below $half"

	dm_swap slow "0 $half linear $below 0"$'\n'"$half $((sectors - half)) delay $part 0 $part 3600000 $part 0"
}

fast_discards() {
	dm_swap slow "0 $sectors linear $below 0"
}

# zeroes: one that can write zeroes, with a layer below its second half that can be stopped. So that no
# flush has to go there it has no cache.
prepare_zeroes() {
	local half=$((sectors / 2))

	scsi lbpu=1 lbpws=1 lbprz=1
	echo "temporary write through" >"$(echo "/sys/block/${disk##*/}/device/scsi_disk/"*)/cache_type"
	failures=(writes all)
	linear f "$disk" "$sectors"
	below=$dev
	dm late "0 $((sectors - half)) linear $below $half"
	dm slow "0 $half linear $below 0"$'\n'"$half $((sectors - half)) linear $dev 0"
	others=("$dev")
	linear fast "$below"
	others+=("$dev")
}

slow_zeroes() {
	dm_suspend late noflush
}

fast_zeroes() {
	dm_resume late
}

# hammering OPTION...: in the background, after a failure that may have cost what was not flushed
hammering() {
	bg nice -n 19 "$bin/hammer" -c -f "$tmp/state" -R -U 40 -C "$size" -t 12 -s 600 -F 10 -D 5 \
		-b 65536 -G 2 "$@" "$dev"
	worker=$!
}

# It has found nothing that is wrong, unless it had not even begun.
hammered() {
	kill -TERM "$worker" 2>/dev/null || true
	timeout 60 tail --pid="$worker" -f /dev/null || fail "the hammer does not end"
	wait "$worker" || is "$?" 143 "the status of the hammer"
}

# fails writes|flushes|all: from now on
fails() {
	case $1 in
	writes)
		fail_writes f "$disk" 0 "$sectors"
		;;
	flushes)
		fail_writes f "$disk" $((sectors - 8)) "$sectors"
		;;
	all)
		dm_swap f "0 $sectors error"
		;;
	esac
}

ended() {
	! kill -0 "$1" 2>/dev/null
}

# suspend discards|zeroes: it waits for what is on its way, or leaves that to itself
suspend() {
	bg "$bin/blk" dm suspend "$pre-q"
	(wait_for 2 ended $! >/dev/null) || "fast_$1"
	wait $!
}

# unmapping OPTION...: a hammer that does nothing but that, and waits for nothing that is slow; what it
# frees goes to the device as what that can do, discards or zeroes
unmapping() {
	hammer -f "$tmp/state" -R -d -r 0 -U 100 -A 100 -C "$size" -t 4 -n 4 -G 0 -F 0 "$@" "$dev"
}

# break_it discards|zeroes FAILURE: much has been unmapped, durably, and is being given to the device,
# when that fails
break_it() {
	"slow_$1"
	unmapping
	commit q
	fails "$2"
	unmapping -E
	wait_for 20 status_is q mode ro
}

# use LAYER: load a table over it, with the hammer at work at once
use() {
	lower=$1
	dm_load q "$(table "$lower" commit_interval 50)"
	hammering -E
	# who resumes it may have to wait for the end of the table before
	bg "$bin/blk" dm resume "$pre-q"
	resumer=$!
	wait_for 20 status_is q mode rw
	# who has not been told of lost writes is told now
	io "$dev" flush || {
		dm_suspend q
		dm_resume q
	}
}

# recover discards|zeroes LAYER
recover() {
	suspend "$1"
	dm_swap f "0 $sectors linear $disk 0"
	use "$2"
}

# one_round discards|zeroes FAILURE: twice, under the hammer, and with discards on their way
one_round() {
	fails "$2"
	wait_for 20 status_is q mode ro
	hammered
	recover "$1" "${others[0]}"
	wait "$resumer"
	sleep 1
	hammered
	break_it "$@"
	recover "$1" "${others[1]}"
	sleep 2
	# whatever is left of the table before
	"fast_$1"
	wait "$resumer"
	sleep 1
}

# t_reload discards|zeroes
t_reload() {
	local round

	"prepare_$1"
	garbage "$disk" 2
	lower=${others[0]}
	image "$lower" $((units * size)) "$size" 1
	io "$lower" "write:$size:$size:0" flush
	qed q "$lower" commit_interval 50
	hammering -E
	for ((round = 0; round < ${RELOAD_ROUNDS:-3}; round++)); do
		sleep 1
		one_round "$1" "${failures[round % ${#failures[@]}]}"
	done
	hammered
	hammering -s 3
	wait "$worker"
	hammer -v -f "$tmp/state" "$dev"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
	qed q "$lower"
	hammer -v -f "$tmp/state" "$dev"
}

cases=("t_reload discards" "reloads after failures, with slow discards")
# not every kernel has it
! modprobe -n -q scsi_debug || cases+=("t_reload zeroes" "... with slow zeroes")
run "${cases[@]}"
