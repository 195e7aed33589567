/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Units of systemd for a line of /etc/qedtab.
 */

#ifndef QED_UNIT_H
#define QED_UNIT_H

#include "tab.h"

/**
 * unit_write() - write the units for one image
 * @folder: where the generator has to write them
 * @tab: the path of the table
 * @entry: the line of it
 *
 * Those are a service that opens and closes it, links from what needs that, and the times
 * that it may take.
 * Return: 0 or a negative error number, and fail() knows more.
 */
int unit_write(const char *folder, const char *tab, const struct entry *entry);

/**
 * unit_link() - make systemd start a unit together with another one
 * @folder: where the generator has to write
 * @unit: the other one
 * @how: "wants" or "requires"
 * @to: what it has: the path of the unit, as seen from the link
 *
 * Return: 0 or a negative error number, and fail() knows more.
 */
int unit_link(const char *folder, const char *unit, const char *how, const char *to);

/* The target that the service belongs to */
const char *unit_target(const struct entry *entry);

#endif /* QED_UNIT_H */
