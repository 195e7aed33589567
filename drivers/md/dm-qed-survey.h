/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What space of an image is free: by the record and the table line, at once, and by a scan of
 * the tables, in the background, or first if they may not be in order.
 */

#ifndef DM_QED_SURVEY_H
#define DM_QED_SURVEY_H

#include "dm-qed-meta-priv.h"

/* Prepare the work; qed_survey_start() queues it. */
void qed_survey_init(struct qed_meta *meta);

/*
 * Was the image left by somebody whose tables may not be in order then? They are scanned before
 * anything else is done with them. Context: Any, once the header has been judged.
 */
bool qed_survey_is_first(struct qed_meta *meta);

/**
 * qed_survey_load() - make the space map, with what is known
 * @meta: the metadata, whose header has been judged; gets the map
 * @args: how it is being loaded
 *
 * Scans the tables, if that has to be first.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EINVAL for a zeroed_from that cannot be, -ENOMEM; of the scan -EUCLEAN for
 * defects, which are reported, or -EIO.
 */
int qed_survey_load(struct qed_meta *meta, const struct qed_load_args *args);

/* Start the scan in the background: the client is told of its end. Context: Process. */
void qed_survey_start(struct qed_meta *meta);

/* Stop it, wait for what it is reading, and tell a check to stop. Context: Process. */
void qed_survey_stop(struct qed_meta *meta);

#endif /* DM_QED_SURVEY_H */
