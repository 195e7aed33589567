/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command line of qedsetup.
 */

#ifndef QEDSETUP_ARGUMENTS_H
#define QEDSETUP_ARGUMENTS_H

#include "request.h"

/**
 * parse_arguments() - read the command line
 * @request: the result
 * @argc: as for main()
 * @argv: the same
 *
 * Return: 1, 0 if it was only for help, which has been printed, or a negative error number,
 * and it is noted what is wrong.
 */
int parse_arguments(struct request *request, int argc, char **argv);

#endif /* QEDSETUP_ARGUMENTS_H */
