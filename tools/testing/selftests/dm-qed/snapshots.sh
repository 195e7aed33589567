# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common parts of the tests of qedsetup snapshot, beside lib.sh and setup.sh.

stamps() {
	"$bin/stamps" "$@"
}

# made SIZE: an image, and its device; sets $dev
made() {
	"$QEDSETUP" create "$image" "$1"
	setup_open
}

# image_now: what the device has
image_now() {
	"$QEDSETUP" list -n --raw -o NAME,IMAGE | sed -n "s|^$name ||p"
}

has_stamps() {
	[ "$(stamps count "$tmp/stamps")" -gt "$1" ]
}

# stamp DEVICE...: write to them, and wait until that goes on
stamp() {
	rm -f "$tmp/stamps"
	bg "$bin/stamps" write "$tmp/stamps" "$@"
	stamper=$!
	wait_for 120 has_stamps 20
}

# stamped: no more; sets $written
stamped() {
	wait_for 120 has_stamps "$(stamps count "$tmp/stamps")"
	kill -TERM "$stamper"
	wait "$stamper" || fail "writes have failed"
	written=$(stamps count "$tmp/stamps")
	note "$written writes"
}

# took NAME COMMAND...: what there was before, and after it, is in limits.NAME
took() {
	local least=0 most=0

	[ ! -e "$tmp/stamps" ] || least=$(stamps count "$tmp/stamps")
	"${@:2}"
	# the one under way is not counted yet
	[ ! -e "$tmp/stamps" ] || most=$(($(stamps count "$tmp/stamps") + 1))
	echo "$least $most" >"$tmp/limits.$1"
}

# take IMAGE [OPTION]...: a snapshot of the device, which goes on in the image
take() {
	local old

	old=$(image_now)
	took "${old##*/}" json snapshot "${@:2}" "$name" "$1"
	is "$(image_now)" "$1" "the image"
	has_ended
}

# layer_is IMAGE: it has what the disk had at its snapshot, for dm-qed and for QEMU
layer_is() {
	local least most before=$dev

	read -r least most <"$tmp/limits.${1##*/}"
	"$QEDSETUP" open --readonly "$1" "$pre-layer"
	stamps check "$least" "$most" "/dev/mapper/$pre-layer"
	"$QEDSETUP" close "$pre-layer"
	if [ -b "$1" ]; then
		blockdev --flushbufs "$1"
	else
		qemu-img check -q -f qed "$1"
	fi
	qemu-img convert -f qed -O raw "$1" "$tmp/raw"
	stamps check "$least" "$most" "$tmp/raw" >/dev/null
	rm "$tmp/raw"
	dev=$before
}

# has_ended: nothing is under way
has_ended() {
	local left=(/run/qed/*)

	[ ! -e "${left[0]}" ] || fail "left in /run/qed: ${left[*]}"
}

# state_now: of all of our devices, and of what there is
state_now() {
	local device

	dmsetup table --target qed | sort
	for device in $(dmsetup ls --target qed | cut -f 1); do
		dmsetup info -c --noheadings -o name,suspended,tables_loaded "$device"
	done
	ls "$dir"
	losetup --list --noheadings -O BACK-FILE | sort
}

# as_it_is: what has to stay so; as_it_was: whether it has
as_it_is() {
	state_now >"$tmp/before"
}

as_it_was() {
	has_ended
	wait_for 10 is_as_it_was
	status_is a mode rw
	[ ! -e "$tmp/stamps" ] || wait_for 120 has_stamps "$(stamps count "$tmp/stamps")"
}

is_as_it_was() {
	state_now >"$tmp/after"
	diff "$tmp/before" "$tmp/after"
}

# fails STATUS REGEX ARGUMENT...: as setup_says, and all is as it was
fails() {
	setup_says "$@"
	as_it_was
}

# virsh_is [COMMAND]...: a virsh of ours, which does this as well
virsh_is() {
	mkdir -p "$tmp/bin"
	rm -f "$tmp/virsh.log"
	{
		echo '#!/bin/bash'
		echo "echo \"\$*\" >>$tmp/virsh.log"
		printf '%s\n' "$@"
	} >"$tmp/bin/virsh"
	chmod +x "$tmp/bin/virsh"
	PATH=$tmp/bin:$PATH
}
