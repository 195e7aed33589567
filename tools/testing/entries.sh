#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# entries.sh - are entries of tables read in one piece where a word has 32 bits?
#
# Usage: entries.sh
#
# All of them are read by one function, in dm-qed-cache.h, which has to ask the kernel for
# that. What dm-qed-lookup needs of the kernel tells whether it does.

set -euo pipefail

here=$(realpath "$(dirname "$0")")
object=$here/../../build/cross-i386/drivers/md/dm-qed-lookup.o

"$here/cross.sh" i386 >/dev/null
needs=$(i686-linux-gnu-nm -u "$object")
grep atomic64_read <<<"$needs" || {
	echo "entries.sh: they are read in halves"
	exit 1
}
