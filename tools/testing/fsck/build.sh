#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh - build what the tests of qed-fsck need
#
# Usage: build.sh
#
# Makes build/fsck/qed-fsck, and beside it: mkimage, preload.so, disturb.so, the two
# fuzzers, which have the program's sources with the address and undefined behaviour
# sanitizers, and the folders "corpus" and "undo-corpus" with the inputs that fuzz.corpus
# and fuzz_undo.corpus have, a line each.

set -euo pipefail

here=$(dirname "$(realpath "$0")")
tree=$(realpath "$here/../../..")
out=$tree/build/fsck
warnings=(-Wall -Wextra -Werror)
# shellcheck disable=SC2054	# one word
sanitize=(-g -O2 -D_FILE_OFFSET_BITS=64 -pthread -fsanitize=address,undefined
	-fno-sanitize-recover=undefined)
coverage=inline-8bit-counters,pc-table

mkdir -p "$out/objects"
make -s -C "$tree/tools/qed" OUTPUT="$out" CFLAGS="-O2 -g -Werror"
gcc -O2 "${warnings[@]}" -o "$out/mkimage" "$here/mkimage.c"
for name in preload disturb; do
	gcc -O2 "${warnings[@]}" -shared -fPIC -o "$out/$name.so" "$here/$name.c"
done

# the harnesses themselves are not what is to be covered
objects=()
rm -f "$out"/objects/*
for source in "$tree"/tools/qed/*.c; do
	name=$(basename "$source" .c)
	objects+=("$out/objects/$name.o")
	covered=$coverage
	case $name in
	undo*)	# what is compared with a checksum is worth to be tried
		covered+=,trace-cmp
		;;
	esac
	clang "${warnings[@]}" "${sanitize[@]}" -Dmain=qed_fsck_main -DQED_VERSION='"fuzzed"' \
		-fsanitize-coverage="$covered" -c -o "$out/objects/$name.o" "$source"
done
harness=(clang "${warnings[@]}" "${sanitize[@]}" -fsanitize=fuzzer
	"-fno-sanitize-coverage=$coverage,trace-cmp" "$here/fuzz_buffers.c")
for call in malloc aligned_alloc free; do
	harness+=("-Wl,--wrap=$call")
done
wrap=()
for call in pread64 pwrite64 fallocate64 ftruncate64 lseek64 fdatasync fstat64 fstatvfs64; do
	wrap+=("-Wl,--wrap=$call")
done
"${harness[@]}" "${wrap[@]}" -o "$out/fuzz" "$here/fuzz.c" "${objects[@]}" -ljson-c
"${harness[@]}" -o "$out/fuzz_undo" "$here/fuzz_undo.c" "${objects[@]}" -ljson-c

# corpus LINES FOLDER
corpus()
{
	local number=0 line

	rm -rf "$2"
	mkdir "$2"
	while read -r line; do
		number=$((number + 1))
		xxd -r -p <<<"$line" >"$2/$number"
	done <"$1"
}

corpus "$here/fuzz.corpus" "$out/corpus"
corpus "$here/fuzz_undo.corpus" "$out/undo-corpus"
