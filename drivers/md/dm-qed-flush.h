/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flushes of the image device that are under way, and who has to wait for them.
 *
 * A device that fails a flush says so once, and the next one succeeds, although what
 * was lost is not there. On another processor that success may be known first. So one
 * that succeeds counts only when all have come back that were under way then: what these
 * have lost has been noted. A write with FUA is one of them where it may be a flush.
 *
 * The guest's own are not held up by each other, as they are not on any other device:
 * whoever asked for the one that fails is told. Ours nobody has asked for, and the tables
 * depend on them.
 */

#ifndef DM_QED_FLUSH_H
#define DM_QED_FLUSH_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/**
 * struct qed_flush - a flush
 * @list: of those under way, or of those that have succeeded and wait
 * @seq: what was under way when it succeeded has at most this
 * @own: it is not one of the guest
 * @under_way: from qed_flush_begin() to qed_flush_end(); false in a new one
 * @settled: called when it need not wait any more, from qed_flush_end() of another one
 */
struct qed_flush {
	struct list_head list;
	u64 seq;
	bool own;
	bool under_way;
	void (*settled)(struct qed_flush *flush);
};

/**
 * struct qed_flushes - the flushes of an image device
 * @lock: protects the rest; a leaf
 * @seq: of the one that has begun last
 * @under_way: in the order of @seq, [0] those of the guest, [1] our own
 * @settling: likewise
 */
struct qed_flushes {
	spinlock_t lock;		/* protects what follows */
	u64 seq;
	struct list_head under_way[2];
	struct list_head settling[2];
};

void qed_flushes_init(struct qed_flushes *flushes);

/* A flush is about to be submitted; @own as in struct qed_flush. Context: Any. */
void qed_flush_begin(struct qed_flushes *flushes, struct qed_flush *flush,
		     bool own);

/**
 * qed_flush_end() - a flush has come back
 * @flushes: all of them
 * @flush: this one; nothing happens if it is not under way
 * @settled: what is to be called, or NULL if it need not wait, as it has failed
 *
 * What a failed one has lost is to be noted before.
 *
 * Context: Any.
 * Return: true if it has to wait: @settled is called, maybe has been, and @flush may be
 * gone.
 */
bool qed_flush_end(struct qed_flushes *flushes, struct qed_flush *flush,
		   void (*settled)(struct qed_flush *flush));

#endif /* DM_QED_FLUSH_H */
