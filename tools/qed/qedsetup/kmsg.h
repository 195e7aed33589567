/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why the kernel has refused something: it says so in its log only.
 */

#ifndef QEDSETUP_KMSG_H
#define QEDSETUP_KMSG_H

/* What is logged from here on is kmsg_said()'s. */
void kmsg_mark(void);

/* The last lines of dm-qed since then, one after the other; "" if there are none */
const char *kmsg_said(void);

#endif /* QEDSETUP_KMSG_H */
