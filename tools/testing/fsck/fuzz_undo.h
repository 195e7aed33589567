/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions of the fuzzer for undo files that others know by their names.
 */

#ifndef FUZZ_UNDO_H
#define FUZZ_UNDO_H

#include "../../qed/common.h"

/* The program: main() has another name when it is compiled for this */
int qed_fsck_main(int argc, char **argv);

#endif /* FUZZ_UNDO_H */
