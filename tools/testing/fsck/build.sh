#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh - build what the tests of qed-fsck need
#
# Usage: build.sh
#
# Makes build/fsck/qed-fsck, and beside it: mkimage, preload.so, the fuzzer, which
# has the program's sources with the address and undefined behaviour sanitizers,
# and the folder "corpus" with the inputs that fuzz.corpus has, a line each.

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
gcc -O2 "${warnings[@]}" -shared -fPIC -o "$out/preload.so" "$here/preload.c"

# the harness itself is not what is to be covered
objects=()
for source in "$tree"/tools/qed/*.c; do
	name=$(basename "$source" .c)
	case $name in
	qed-fsck | report | open)
		continue
		;;
	esac
	objects+=("$out/objects/$name.o")
	clang "${warnings[@]}" "${sanitize[@]}" -fsanitize-coverage=$coverage \
		-c -o "$out/objects/$name.o" "$source"
done
wrap=()
for call in pread64 pwrite64 fallocate64 ftruncate64 lseek64 fdatasync fstat64 fstatvfs64; do
	wrap+=("-Wl,--wrap=$call")
done
clang "${warnings[@]}" "${sanitize[@]}" -fsanitize=fuzzer "${wrap[@]}" \
	-fno-sanitize-coverage=$coverage,trace-cmp \
	-o "$out/fuzz" "$here/fuzz.c" "${objects[@]}"

rm -rf "$out/corpus"
mkdir "$out/corpus"
number=0
while read -r line; do
	number=$((number + 1))
	xxd -r -p <<<"$line" >"$out/corpus/$number"
done <"$here/fuzz.corpus"
