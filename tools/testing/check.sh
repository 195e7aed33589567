#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check.sh - all tests
#
# Usage: check.sh
#
#   $KERNELS	the kernels to test on, default "6.1 6.12 backports": all selftests on the
#		first one, those of what kernels differ in on the last one, and the quick
#		ones of these on those between
#   $TESTS	the selftests to run, default all; with it, only they are run
#
# Builds the module, checks the source, tests the test bed, runs the selftests in
# virtual machines for each kernel, tests qed-fsck, and on the first kernel looks for
# power cuts and failing I/O that cost data. The last line is "N passed, N failed, N
# skipped". A test that could not be run has failed, and a test that was skipped makes
# the exit status that of a failure. Everything printed on the way is in build/check.

set -eu

cd "$(dirname "$0")/../.."
here=tools/testing
out=$PWD/build/check
selftests=$here/selftests/dm-qed
read -ra kernels <<<"${KERNELS:-6.1 6.12 backports}"
tests=${TESTS-}
# what has several threads of its own
concurrent=(activation discard geometry hammer lifecycle memory_pressure power_cuts reload reuse
	swap)
# what the module asks of the kernel in a way that is not the same in all of them
differs=(load table_line status nowait cgroup limits)
differs_more=(discard lifecycle failure lost filesystem)
# more than there are processors: a machine that has one thing to do often waits
slots=$(($(nproc) + 3))
jobs=()

say()
{
	printf '[%2d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"
}

# From the output of a test program: lines "pass NAME", "fail NAME", "skip NAME"
#
# Selftests nest: a program's own results follow it as comments. They count
# instead of the program's; that counts, too, when it failed and none of them
# did, or when it has none. Missing ones, by the plan, are failures.
verdicts()
{
	awk '
	function verdict(line)
	{
		return line ~ /^not ok/ ? "fail" : \
			toupper(line) ~ /# *SKIP/ ? "skip" : "pass"
	}
	function name(line)
	{
		sub(/^(not )?ok *[0-9]* *-? */, "", line)
		sub(/ # [0-9]+ m?s$/, "", line)
		return line
	}
	/^# (not )?ok / {
		inner[++inners] = substr($0, 3)
		if (verdict(inner[inners]) == "fail")
			bad = 1
	}
	/^# 1\.\.[0-9]+$/ { planned = substr($0, 6) }
	/^(not )?ok / {
		outer = name($0)
		sub(/^selftests: dm-qed: /, "", outer)
		sub(/ #.*/, "", outer)
		count++
		for (i = 1; i <= inners; i++)
			print verdict(inner[i]), outer ": " name(inner[i])
		if (!inners)
			print verdict($0), name($0)
		else if (inners < planned)
			print "fail", outer ": not all were run"
		else if (verdict($0) == "fail" && !bad)
			print "fail", name($0)
		inners = planned = bad = 0
	}
	/^1\.\.[0-9]+$/ { plan = substr($0, 4); has_plan = 1 }
	END {
		if (!has_plan)
			print "fail no plan: the tests did not run"
		for (; count < plan; count++)
			print "fail did not run: test " count + 1
		for (i = 1; i <= inners; i++)
			print verdict(inner[i]), name(inner[i])
	}'
}

# Show what the test programs of part $1 say: verdicts, and why a test failed.
# A selftest tells so before its verdict, our own programs after it.
progress()
{
	local line notes=()

	while IFS= read -r line; do
		case $line in
		"ok "* | "not ok "*)
			say "$1: $line"
			notes=()
			;;
		"# ok "*)
			notes=()
			;;
		"# not ok "*)
			# shellcheck disable=SC2059	# $1 has no %
			printf "  $1: %s\n" ${notes[@]+"${notes[@]}"} "$line"
			notes=()
			;;
		"#   "*)
			echo "  $1: $line"
			;;
		*)
			notes+=("$line")
			;;
		esac
	done
}

# From the output of times: what the children of the shell have used
cpu_time()
{
	tr ms '  ' | awk 'NR == 2 { printf "%d s", 60 * ($1 + $3) + $2 + $4 }'
}

# part NAME COMMAND...: run a COMMAND that prints TAP
part()
{
	local name=$1 log=$out/$1 status=0

	shift
	say "$name: ..."
	{
		"$@" 2>&1 </dev/null || echo $? >"$log.status"
	} | tee "$log.log" | progress "$name"
	[ ! -e "$log.status" ] || status=$(cat "$log.status")
	verdicts <"$log.log" >"$log.verdicts"
	# the test bed's own word: a kernel's bug report, a dead machine
	if [ "$status" -ne 0 ]; then
		if ! grep -q '^fail' "$log.verdicts"; then
			echo "fail $name: exit status $status" >>"$log.verdicts"
		fi
		grep -A 20 '^vm-run:' "$log.log" || true
	fi
	times >"$log.times"
	say "$name: done, exit status $status, $(cpu_time <"$log.times") of a processor," \
		"see ${log#"$PWD/"}.log"
}

build()
{
	# shellcheck source=tap.sh
	. $here/tap.sh
	local kernel release

	for kernel in "${kernels[@]}"; do
		check "fetch a Debian kernel, $kernel" \
			$here/vm/get-kernel "$kernel"
		release=$($here/vm/get-kernel "$kernel") || continue
		check "module for $kernel, ${release##*/}" $here/build.sh "$kernel"
		check "module for $kernel, by DKMS" $here/dkms.sh "$kernel"
	done
	check "kernel for a guest of a guest" $here/vm/build-kernel nested
	check "helpers of the selftests" \
		make -C "$selftests" OUTPUT="$PWD/build/selftests"
	check "qed-fsck" make -C tools/qed
	check "qedsetup" make -C tools/qed/qedsetup
	check "damaged images for the selftests" \
		$here/fsck/corpus/corpus kernel "$PWD/build/selftests/fsck"
	if [ -z "$tests" ]; then
		check "the image library of the tests" \
			python3 -B $here/qedimg/test_qedimg.py
		for kernel in "${kernels[@]}"; do
			check "crash tests for $kernel" $here/crash/build.sh "$kernel"
		done
	fi
	tap_end
}

# selftest NAME KERNEL CPUS TESTS
selftest()
{
	local nr

	# for limits.sh
	mkdir -p "$out/$1-disks"
	for nr in 1 2 3 4 5; do
		truncate -s 64M "$out/$1-disks/$nr"
	done
	$here/vm/vm-run -k "$2" -c "$3" -m 4096 -t 15000 -o "$out/$1" \
		--disk "$out/$1-disks/1" --disk "$out/$1-disks/2:4k" \
		--disk "$out/$1-disks/3:scsi" --disk "$out/$1-disks/4:scsi:4k" \
		--disk "$out/$1-disks/5:pmem" \
		--env LIMITS_DISKS="/dev/vda /dev/vdb /dev/sda /dev/sdb /dev/pmem0" \
		--env NESTED_KERNEL="$($here/vm/build-kernel nested)/vmlinux" \
		--program fio --program qemu-img --program "$PWD/build/qed/qed-fsck" \
		--program "$PWD/build/qed/qedsetup" \
		--module "build/$2/dm-qed-mod.ko" -- \
		make -s -C "$selftests" run_tests TESTS="$4" \
		OUTPUT="$PWD/build/selftests"
}

# Run a part besides the others, as many at a time as there are slots
start()
{
	if [ ${#jobs[@]} -ge "$slots" ]; then
		wait -n || true
		slots=$((slots + 1))
	fi
	part "$@" &
	jobs+=($!)
}

# Nothing is left running: each job is a process group, due to set -m
stop()
{
	local job

	for job in ${jobs[@]+"${jobs[@]}"}; do
		kill -- "-$job" 2>/dev/null || true
	done
	wait
}

# Once more, as whoever sees only the end of all this wants to know, too: what was said about
# the first failures of each part
why()
{
	local verdicts

	for verdicts in "$out"/*.verdicts; do
		grep -q '^fail' "$verdicts" || continue
		echo "--- ${verdicts#"$PWD/"}"
		grep -m 3 -B 5 -A 20 '^\(# \)\?not ok' "${verdicts%.verdicts}.log" || true
	done
}

summary()
{
	local pass fail skip

	pass=$(cat "$out"/*.verdicts | grep -c '^pass') || true
	fail=$(cat "$out"/*.verdicts | grep -c '^fail') || true
	skip=$(cat "$out"/*.verdicts | grep -c '^skip') || true
	why
	grep -H '^\(fail\|skip\)' "$out"/*.verdicts |
		sed "s|^$out/||; s|\.verdicts:|: |" || true
	echo "$pass passed, $fail failed, $skip skipped"
	[ "$fail" -eq 0 ] && [ "$skip" -eq 0 ] && [ "$pass" -gt 0 ]
}

rm -rf "$out"
mkdir -p "$out"
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

set -m
part build build
# what takes longest begins first
[ -n "$tests" ] || start crash $here/crash/check -k "${kernels[0]}"
for kernel in "${kernels[@]}"; do
	name=selftests-$kernel
	if [ -z "$tests" ] && [ "$kernel" != "${kernels[0]}" ]; then
		[ "$kernel" != "${kernels[-1]}" ] || differs+=("${differs_more[@]}")
		start "$name" selftest "$name" "$kernel" 2 "${differs[*]}"
		continue
	fi
	start "$name" selftest "$name" "$kernel" 2 "${tests:-${concurrent[*]}}"
	if [ -z "$tests" ]; then
		# the others: a second processor that waits for the first makes them slower
		start "$name-more" selftest "$name-more" "$kernel" 1 \
			"$(make -s --no-print-directory -C "$selftests" list EXCEPT="${concurrent[*]}")"
	fi
done
if [ -z "$tests" ]; then
	start fsck-corpus $here/fsck/corpus/check
	start stalls $here/stalls/check -k "${kernels[0]}"
	start vm-run $here/vm/selftest.sh
	start lint $here/lint.sh
	start fsck $here/fsck/check
	start setup $here/setup/check
	start boot $here/boot/check
	start model $here/model/overlay
	start hosts $here/hosts/check -k "${kernels[0]}"
	start gate $here/bench/gate 6.1
	start unit $here/kunit/check "${kernels[0]}"
	# it judges what commits do at their interval: not on a busy machine
	start faults $here/faults/check -q -k "${kernels[0]}"
fi
wait
jobs=()
summary
