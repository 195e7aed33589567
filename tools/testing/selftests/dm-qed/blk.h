/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of blk: what has to do with device mapper, and the rest.
 */

#ifndef DM_QED_BLK_H
#define DM_QED_BLK_H

#define RETRIES		100		/* of 50 ms */

/* Say what has failed, by errno, and exit with 1. */
void fatal(const char *what);

/* The same of wrong arguments, with 2 */
void usage(void);

/* Wait for 50 ms. */
void retry_delay(void);

/* blk dm COMMAND NAME [OPTION]; option may be NULL. Returns the exit status. */
int dm_main(const char *command, const char *name, const char *option);

#endif /* DM_QED_BLK_H */
