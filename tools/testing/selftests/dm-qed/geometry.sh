#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Random writes of all sizes in every kind of geometry, verified at once, after a
# reload of the table and after the image was opened anew.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# jobs DEVICE SPAN SIZE BLOCK UNIT: at the start, where writes overlap, over the border of the first
# two L2 tables, and at the end of the image
jobs() {
	cat <<-END
		[global]
		filename=$1
		direct=1
		ioengine=libaio
		thread
		rw=randwrite
		iodepth=32
		verify=crc32c
		verify_fatal=1
		randrepeat=1
		bsrange=$4-$(($5 < mb ? $5 : mb))
		[start]
		offset=0
		size=$5
		norandommap
		serialize_overlap=1
		[border]
		offset=$(($2 - $5 / 2))
		size=$5
		bsrange=$4-32k
		[end]
		offset=$(($3 - $5))
		size=$5
	END
}

run_jobs() {
	fio --output="$tmp/lib/fio.log" "$@" "$tmp/jobs" >"$tmp/lib/fio.err" 2>&1 ||
		fail "fio $*: $(cat "$tmp/lib/fio.err" "$tmp/lib/fio.log")"
}

# t_geometry CLUSTER TABLE [BLOCKSIZE]
t_geometry() {
	local cluster=$1 table=$2 block=${3:-512} lower size unit range
	local span=$((cluster * (cluster * table / 8))) options=()

	need fio
	# two tables and a bit, with a part of a cluster at the end
	size=$((2 * span + 5 * cluster / 2 / block * block + block))
	unit=$((span / 4 < 2 * mb ? span / 4 : 2 * mb))
	range=(-f "$tmp/state" -o $((span + unit)) -l "$unit")
	null a $((64 << 10)) blocksize="$block"
	lower=$dev
	image "$lower" "$size" "$cluster" "$table"
	# clusters this large need not be filled
	[ "$cluster" -lt $((64 * mb)) ] || options=(zeroed_from $((1 + table)))

	qed q "$lower" "${options[@]}"
	jobs "$dev" "$span" $((size / 4096 * 4096)) "$block" "$unit" >"$tmp/jobs"
	run_jobs
	hammer "${range[@]}" -t 6 -n 25 "$dev"

	qed_reload q "$lower" cache_kib 64
	hammer "${range[@]}" -v "$dev"
	run_jobs --verify_only
	dm_remove q

	qed q "$lower"
	hammer "${range[@]}" -v "$dev"
	run_jobs --verify_only
	dm_remove q
	is_clean "$lower"
}

args=("t_geometry 4096 8 4096" "clusters of 4096, tables of 8, logical blocks of 4096"
	"t_geometry 65536 4 4096" "clusters of 65536, tables of 4, logical blocks of 4096")
for cluster in 4096 65536 1048576 67108864; do
	for table in 1 2 4 16; do
		args+=("t_geometry $cluster $table" "clusters of $cluster, tables of $table")
	done
done

run "${args[@]}"
