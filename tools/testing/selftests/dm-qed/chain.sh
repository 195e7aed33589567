#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Images below images, as QEMU makes them, and what the uppermost should read as: for chains.sh.

# shellcheck disable=SC2034	# not each of them uses all
# shellcheck source=overlay.sh
. "$(dirname "$0")/overlay.sh"

files=()				# the images, and first what is raw below them, if it is
format=()				# of each of them
line=()					# the words of a table line for what is below the uppermost
sums=					# of that
readonly=ro				# what is below is on loop devices that are so; or empty

# qemu FILE COMMAND...: what qemu-io does to it
qemu() {
	local command args=() form=qed

	[[ $1 == *.qed ]] || form=raw
	for command in "${@:2}"; do
		args+=(-c "$command")
	done
	qemu-io -f $form "${args[@]}" "$1" >"$tmp/qemu-io.log"
}

# images BASE-BYTES BYTES:CLUSTER:TABLE...: the lowest first; what is raw below that is full, or not
# there if it has no size
images() {
	local spec bytes cluster table under=()

	need qemu-img qemu-io
	files=()
	format=()
	if [ "$1" != 0 ]; then
		fill "$tmp/base" "$1" 1
		files=("$tmp/base")
		format=(raw)
		under=(-b "$tmp/base" -F raw)
	fi
	for spec in "${@:2}"; do
		IFS=: read -r bytes cluster table <<<"$spec"
		img=$tmp/image${#files[@]}.qed
		qemu-img create -q -u -f qed ${under[@]+"${under[@]}"} \
			-o "cluster_size=$cluster,table_size=$table" "$img" "$bytes"
		files+=("$img")
		format+=(qed)
		under=(-b "$img" -F qed)
	done
	size=$bytes
}

# scribble FILE BYTES SEED: let QEMU write here and there to an image of that size
scribble() {
	local i at length all=$(($2 / 512)) commands=()

	RANDOM=$3
	for ((i = 0; i < 12; i++)); do
		at=$(((RANDOM << 15 | RANDOM) % all))
		length=$((RANDOM % 4 ? RANDOM % 64 + 1 : RANDOM % 1024 + 1))
		[ $((at + length)) -le $all ] || length=$((all - at))
		if [ $((RANDOM % 4)) = 0 ]; then
			commands+=("write -z $((at * 512)) $((length * 512))")
		else
			commands+=("write -P $((RANDOM % 255 + 1)) $((at * 512)) $((length * 512))")
		fi
	done
	qemu "$1" "${commands[@]}"
}

# ready: nobody else writes to them any more
ready() {
	local last=$((${#files[@]} - 1)) i

	raw=$tmp/raw
	qemu-img convert -f qed -O raw "$img" "$raw"
	truncate -s "$size" "$raw"
	loop "$raw"
	twin=$dev
	line=()
	for ((i = last - 1; i >= 0; i--)); do
		# shellcheck disable=SC2086	# none or one
		loop "${files[i]}" $readonly
		if [ "${format[i]}" = raw ]; then
			line+=(backing "$dev")
		else
			line+=(layer "$dev")
		fi
	done
	sums=$(md5sum "${files[@]:0:last}")
	base=${files[0]}
	sum=$(md5sum <"$base")
	attach
}

# up [OPTION]...: activate the uppermost over all others; sets $dev
up() {
	qed q "$disk" "${line[@]}" commit_interval 3600000 "$@"
}

# judged: like judge, and nothing was written to any image below
judged() {
	judge
	is "$(md5sum "${files[@]:0:${#files[@]}-1}")" "$sums" "the sums of what is below"
}

# device N: that of the Nth word of the line, from 1 on
device() {
	echo "${line[2 * $1 - 1]}"
}

# entry FILE CLUSTER: where in the image its entry is, if that is in the first table
entry() {
	echo $(($(blk u64 "$1" "$(blk u64 "$1" 40)") + 8 * $2))
}
