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
 * whoever asked for the one that fails is told. Of what a write with FUA has lost beside
 * itself nobody is told, nor of what ours have: so the guest's flushes wait for these. Ours
 * wait for all, as the tables depend on them.
 */

#ifndef DM_QED_FLUSH_H
#define DM_QED_FLUSH_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/**
 * enum qed_flush_kind - whose it is
 * @QED_FLUSH_GUEST: a flush of the guest
 * @QED_FLUSH_FUA: a write of the guest with FUA
 * @QED_FLUSH_OWN: one of ours, whatever it is
 * @QED_FLUSH_KINDS: how many kinds there are
 */
enum qed_flush_kind {
	QED_FLUSH_GUEST,
	QED_FLUSH_FUA,
	QED_FLUSH_OWN,
	QED_FLUSH_KINDS
};

/**
 * struct qed_flush - a flush
 * @list: of those under way, or of those that have succeeded and wait
 * @seq: what was under way when it succeeded has at most this
 * @kind: see there
 * @under_way: from qed_flush_begin() to qed_flush_end(); false in a new one
 * @settled: called when it need not wait any more, from qed_flush_end() of another one
 */
struct qed_flush {
	struct list_head list;
	u64 seq;
	enum qed_flush_kind kind;
	bool under_way;
	void (*settled)(struct qed_flush *flush);
};

/**
 * struct qed_flushes - the flushes of an image device
 * @lock: protects the rest; a leaf
 * @seq: of the one that has begun last
 * @under_way: of each kind, in the order of @seq
 * @settling: likewise
 */
struct qed_flushes {
	spinlock_t lock;		/* protects what follows */
	u64 seq;
	struct list_head under_way[QED_FLUSH_KINDS];
	struct list_head settling[QED_FLUSH_KINDS];
};

void qed_flushes_init(struct qed_flushes *flushes);

/* A flush is about to be submitted. Context: Any. */
void qed_flush_begin(struct qed_flushes *flushes, struct qed_flush *flush,
		     enum qed_flush_kind kind);

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
