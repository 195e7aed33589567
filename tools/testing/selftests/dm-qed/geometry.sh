#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Random writes of all sizes in every kind of geometry, verified at once, after a
# reload of the table and after the image was opened anew.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# jobs NAME DEVICE SPAN SIZE BLOCK UNIT: at the start, where writes overlap, over the border of the
# first two L2 tables, and at the end of the image
jobs() {
	cat <<-END
		[start$1]
		filename=$2
		bsrange=$5-$(($6 < mb ? $6 : mb))
		offset=0
		size=$6
		norandommap
		serialize_overlap=1
		[border$1]
		filename=$2
		bsrange=$5-32k
		offset=$(($3 - $6 / 2))
		size=$6
		[end$1]
		filename=$2
		bsrange=$5-$(($6 < mb ? $6 : mb))
		offset=$(($4 - $6))
		size=$6
	END
}

run_jobs() {
	fio --output="$tmp/lib/fio.log" "$@" "$tmp/jobs" >"$tmp/lib/fio.err" 2>&1 ||
		fail "fio $*: $(cat "$tmp/lib/fio.err" "$tmp/lib/fio.log")"
}

# geometry CLUSTER TABLE BLOCKSIZE: sets lower, size, span, unit, range and options
geometry() {
	span=$(($1 * ($1 * $2 / 8)))
	# two tables and a bit, with a part of a cluster at the end
	size=$((2 * span + 5 * $1 / 2 / $3 * $3 + $3))
	unit=$((span / 4 < 2 * mb ? span / 4 : 2 * mb))
	range=(-f "$tmp/state$2" -o $((span + unit)) -l "$unit")
	# clusters this large need not be filled
	options=()
	[ "$1" -lt $((64 * mb)) ] || options=(zeroed_from $((1 + $2)))
}

# each COMMAND...: with every geometry, and what was made for it as lower
each() {
	local table

	for table in "${tables[@]}"; do
		geometry "$cluster" "$table" "$block"
		lower=${lowers[table]-}
		"$@"
	done
}

start() {
	null "a$table" $((64 << 10)) blocksize="$block"
	lower=$dev
	lowers[table]=$lower
	image "$lower" "$size" "$cluster" "$table"
	qed "q$table" "$lower" "${options[@]}"
	devs[table]=$dev
	jobs "$table" "$dev" "$span" $((size / 4096 * 4096)) "$block" "$unit" >>"$tmp/jobs"
	hammer "${range[@]}" -t 6 -n 25 "$dev"
}

verify() {
	hammer "${range[@]}" -v "${devs[table]}"
}

reload() {
	qed_reload "q$table" "$lower" cache_kib 64
	verify
}

reopen() {
	dm_remove "q$table"
	qed "q$table" "$lower"
	is "$dev" "${devs[table]}" "the device, which is in fio's file"
	verify
}

end() {
	dm_remove "q$table"
	is_clean "$lower"
}

# t_geometry CLUSTER BLOCKSIZE TABLE...: one fio for all of these tables
t_geometry() {
	local cluster=$1 block=$2 tables=("${@:3}") lowers=() devs=()
	local lower size span unit range options

	need fio
	cat >"$tmp/jobs" <<-END
		[global]
		direct=1
		ioengine=libaio
		thread
		rw=randwrite
		iodepth=32
		verify=crc32c
		verify_fatal=1
		randrepeat=1
	END
	each start
	run_jobs
	each reload
	run_jobs --verify_only
	each reopen
	run_jobs --verify_only
	each end
}

sizes="1 16"
[ -z "${LONG:-}" ] || sizes="1 2 4 16"

run "t_geometry 4096 4096 8" "clusters of 4096, logical blocks of 4096" \
	"t_geometry 65536 4096 4" "clusters of 65536, logical blocks of 4096" \
	"t_geometry 4096 512 $sizes" "clusters of 4096" \
	"t_geometry 65536 512 $sizes" "clusters of 65536" \
	"t_geometry 1048576 512 $sizes" "clusters of 1 MiB" \
	"t_geometry 67108864 512 $sizes" "clusters of 64 MiB"
