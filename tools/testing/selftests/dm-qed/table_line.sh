#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Wrong table lines, each refused with a message of its own.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

sectors=$((8 * mb / 512))

# line REGEX LINES: lines for dmsetup, with LEN and DEV to be replaced
line() {
	local lines=${2//LEN/$sectors}

	refuse q "${lines//DEV/$dev}"
	note "$2: ${error##*device-mapper: table: }"
	matches "$error" "$1" "the message for '$2'"
}

lower() {
	null a 64
	image "$dev" $((8 * mb))
}

t_device() {
	lower
	line 'qed: Image device is missing' "0 LEN qed"
	line 'qed: Cannot open the image device' "0 LEN qed /dev/does-not-exist"
	line 'qed: Cannot open the image device' "0 LEN qed 4711:4711"
}

t_count() {
	lower
	line 'qed: Invalid number of feature arguments' "0 LEN qed DEV x"
	line 'qed: Invalid number of feature arguments' "0 LEN qed DEV -1"
	line 'qed: Invalid number of feature arguments' "0 LEN qed DEV 4711"
	line 'qed: (Invalid number of|not enough) (feature )?arguments' "0 LEN qed DEV 1"
	line 'qed: (Invalid number of|not enough) (feature )?arguments' "0 LEN qed DEV 2 read_only"
	line 'qed: Too many arguments' "0 LEN qed DEV 0 read_only"
	line 'qed: Too many arguments' "0 LEN qed DEV 1 read_only error_if_no_space"
	line 'qed: Too many arguments' "0 LEN qed DEV 2 cache_kib 128 64"
}

t_word() {
	local word

	lower
	for word in bogus read_onl read_only_ '""' 1 layers ignore_discards discard_passdown \
		copy_on_read; do
		line "unrecognised feature argument ${word//\"/.}" "0 LEN qed DEV 1 $word"
	done
	line 'unrecognised feature argument 5' "0 LEN qed DEV 2 read_only 5"
	line 'unrecognised feature argument layers' "0 LEN qed DEV 2 layers DEV"
}

t_numbers() {
	local bad

	lower
	line 'qed: Invalid cache_kib' "0 LEN qed DEV 1 cache_kib"
	for bad in 63 0 -1 x 64k 4294967296 0x1000x; do
		line 'qed: Invalid cache_kib' "0 LEN qed DEV 2 cache_kib $bad"
	done
	line 'qed: Invalid commit_interval' "0 LEN qed DEV 1 commit_interval"
	for bad in -1 x 1s 3600001; do
		line 'qed: Invalid commit_interval' "0 LEN qed DEV 2 commit_interval $bad"
	done
	line 'zeroed_from needs a number' "0 LEN qed DEV 1 zeroed_from"
	line 'low_water needs a number' "0 LEN qed DEV 1 low_water"
	line 'zero_ahead needs a number' "0 LEN qed DEV 1 zero_ahead"
	for bad in -1 x 1k 18446744073709551616; do
		line 'zeroed_from needs a number' "0 LEN qed DEV 2 zeroed_from $bad"
		line 'low_water needs a number' "0 LEN qed DEV 2 low_water $bad"
		line 'zero_ahead needs a number' "0 LEN qed DEV 2 zero_ahead $bad"
	done
}

t_value_is_next_word() {
	lower
	# the value of an option must not be taken from behind the counted arguments
	line 'qed: (Too many arguments|Invalid cache_kib)' "0 LEN qed DEV 1 cache_kib 128"
	line 'qed: Invalid cache_kib' "0 LEN qed DEV 2 cache_kib read_only"
}

t_cache_limit() {
	lower
	# more than any memory: it is a limit, and taken as one
	dm q "0 $sectors qed $dev 2 cache_kib 4294967295"
	io "$dev" write:0:4096:7 flush read:0:4096:7
	is "$(status q limit)" 4294967292 "the limit"
	dm_remove q
}

t_length() {
	lower
	line 'Table length exceeds the image size' "0 $((sectors + 1)) qed DEV"
	line 'Table length exceeds the image size' "0 $((sectors * 1000)) qed DEV"
	line "table length $((sectors + 1)) exceeds the image size of $sectors" \
		"0 $((sectors + 1)) qed DEV"
	# shorter is all right
	dm q "0 $((sectors - 8)) qed $dev"
	is "$(sectors_of "$dev")" $((sectors - 8)) "the length of the device"
}

t_alone() {
	local first

	null b 64
	first=$dev
	image "$first" "$mb"
	lower
	line 'gap in table' "8 LEN qed DEV"
	line 'alone in table' "0 8 qed DEV"$'\n'"8 8 qed $first"
	line 'alone in table' "0 8 qed DEV"$'\n'"8 8 linear $first 0"
	line 'alone in table|singleton' "0 8 linear $first 0"$'\n'"8 8 qed DEV"
}

t_zeroed_from() {
	lower
	# the header and the L1 have clusters 0 to 4
	line 'zeroed_from 0 is not above the L1' "0 LEN qed DEV 2 zeroed_from 0"
	line 'zeroed_from 4 is not above the L1' "0 LEN qed DEV 2 zeroed_from 4"
	dm q "0 $sectors qed $dev 2 zeroed_from 5"
	dm_remove q
}

t_alignment() {
	null a 64 blocksize=4096
	image "$dev" $((mb + 512))
	line 'logical block size|not aligned' "0 $(((mb + 512) / 512)) qed DEV"
	dm q "0 $((mb / 512)) qed $dev"
}

t_read_only_device() {
	local lower

	image "$tmp/file" $((8 * mb))
	truncate -s 32M "$tmp/file"
	loop "$tmp/file" ro
	lower=$dev
	line 'qed: Image device is read-only' "0 LEN qed DEV"
	qed q "$lower" read_only
	is "$(status q mode)" ro "the mode"
}

t_dmsetup_readonly() {
	lower
	dm q "$(table "$dev")" ro
	is "$(status q mode)" ro "the mode"
	matches "$(blk dm table "$pre-q")" ' 1 read_only$' "the table"
	is "$(blockdev --getro "$dev")" 1 "the read-only flag"
}

run t_device "the image device" \
	t_count "the number of arguments" \
	t_word "unknown words, and features that do not exist yet" \
	t_numbers "numbers out of range or none at all" \
	t_cache_limit "the highest limit of the cache" \
	t_value_is_next_word "the value of an option is counted" \
	t_length "a length over the image size" \
	t_alone "another place in the table" \
	t_zeroed_from "zeroed_from below the first free cluster" \
	t_alignment "a length that does not fit the logical blocks" \
	t_read_only_device "a read-only device is for read_only" \
	t_dmsetup_readonly "a read-only table is read_only"
