#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module: loading, names, unloading.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

module=dm_qed_mod

is_loaded() {
	[ -d /sys/module/"$module" ]
}

modular() {
	[ -e /sys/module/"$module"/refcnt ] || skip "built into the kernel"
}

t_target() {
	local version

	version=$(dmsetup targets | awk '$1 == "qed" { print $2 }')
	matches "$version" '^v[0-9]+\.[0-9]+\.[0-9]+$' "the target's version"
}

t_alias() {
	modular
	modinfo -F alias "${DM_QED_KO:-"$module"}" | grep -qx dm-qed || fail "no alias dm-qed"
	matches "$(modinfo -F license "${DM_QED_KO:-"$module"}")" '^GPL' "the license"
	matches "$(modinfo -F description "${DM_QED_KO:-"$module"}")" . "the description"
}

t_busy() {
	modular
	null a 64
	image "$dev" "$mb"
	qed q "$dev"
	is "$(cat /sys/module/"$module"/refcnt)" 1 "the reference count of the module"
	refused rmmod "$module"
	is_loaded
	dm_remove q
	is "$(cat /sys/module/"$module"/refcnt)" 0 "the reference count of the module"
}

t_reload() {
	local i lower

	modular
	null a 64
	lower=$dev
	image "$lower" $((8 * mb))
	for i in 1 2 3 4 5; do
		qed q "$lower"
		io "$dev" "write:$((i * 65536)):4096:$i"
		# without a flush: the work under way has to end before the module goes
		dm_remove q
		rmmod "$module"
		[ ! -e /sys/module/"$module" ]
		load_module
	done
	qed q "$lower"
	for i in 1 2 3 4 5; do
		io "$dev" "read:$((i * 65536)):4096:$i"
	done
}

t_refused_then_unload() {
	modular
	null a 64
	image "$dev" "$mb" 12288
	qed_refused q "$dev"
	rmmod "$module"
	load_module
}

t_autoload() {
	modular
	modprobe -qn dm-qed || skip "the module is not installed"
	null a 64
	image "$dev" "$mb"
	rmmod "$module"
	qed q "$dev"
	is_loaded
}

run t_target "the target is registered" \
	t_alias "the module has its alias and its papers" \
	t_busy "the module cannot be unloaded while it is in use" \
	t_reload "the module can be unloaded and loaded again, the data stays" \
	t_refused_then_unload "a refused image leaves no reference" \
	t_autoload "device-mapper loads the module by itself"
