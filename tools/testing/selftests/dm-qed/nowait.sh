#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# I/O that must not wait: works for what is mapped and cached, EAGAIN otherwise.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536

t_nowait() {
	null a 128
	image "$dev" $((8 << 30))
	disk=$dev
	qed q "$disk" zeroed_from 5
	io "$dev" write:0:"$c":1 write:$((4 << 30)):4096:2
	note "mapped, cached"
	io "$dev" nowait-read:0:4096:1 nowait-write:4096:4096:3 read:4096:4096:3
	note "not mapped, the table is cached"
	io "$dev" nowait-read:$((5 * c)):4096:0 "!EAGAIN/nowait-write:$((5 * c)):4096:4"
	note "no table"
	io "$dev" nowait-read:$((6 << 30)):4096:0 "!EAGAIN/nowait-write:$((6 << 30)):4096:4"
	is "$(status q mapped)" 2 "the number of mapped clusters"
	note "a table that is not cached"
	dm_suspend q
	dm_resume q
	io "$dev" "!EAGAIN/nowait-read:0:4096:1" read:0:4096:1 nowait-read:0:4096:1
	io "$dev" "!EAGAIN/nowait-write:$((4 << 30)):4096:2" write:$((4 << 30)):4096:5 \
		nowait-write:$((4 << 30)):4096:6 read:$((4 << 30)):4096:6
}

run t_nowait "RWF_NOWAIT"
