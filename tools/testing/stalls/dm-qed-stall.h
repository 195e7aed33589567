/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stalls inside dm-qed, for tests: see tools/testing/stalls/README.
 *
 * Each file of the copy that is built for them includes this one.
 */

#ifndef DM_QED_STALL_H
#define DM_QED_STALL_H

#include <linux/percpu-refcount.h>
#include <linux/rculist.h>
#include <linux/srcu.h>

#include "dm-qed-stall-points.h"

/**
 * qed_stall() - a point where the code may be held up
 * @point: which one
 *
 * For a random time, with a random chance, if the point is among those that are
 * asked for. It sleeps wherever that is allowed, so that all others go on even where
 * there is one processor; elsewhere it spins, for a shorter time.
 *
 * Context: Any.
 */
void qed_stall(enum qed_stall_point point);

/*
 * Read sides of RCU may not sleep, and with a single processor nothing else would
 * ever run within one. SRCU means the same and lets them sleep: "insert" makes the
 * copy use these instead. Who waits for one waits for the other: a percpu_ref that
 * is killed ends after a grace period.
 */
extern struct srcu_struct qed_stall_srcu;

/* Both in the same block of the same function */
#define qed_stall_rcu_read_lock()					\
	int stall_srcu = srcu_read_lock(&qed_stall_srcu)
#define qed_stall_rcu_read_unlock()					\
	srcu_read_unlock(&qed_stall_srcu, stall_srcu)

#define qed_stall_rcu_barrier()		srcu_barrier(&qed_stall_srcu)
#define qed_stall_synchronize_rcu()	synchronize_srcu(&qed_stall_srcu)
#define qed_stall_call_rcu(head, func)	call_srcu(&qed_stall_srcu, head, func)

#define qed_stall_hlist_for_each_entry_rcu(pos, head, member, cond...)	\
	hlist_for_each_entry_srcu(pos, head, member,			\
				  srcu_read_lock_held(&qed_stall_srcu) || cond)

static inline bool qed_stall_percpu_ref_tryget_live_rcu(struct percpu_ref *ref)
{
	return percpu_ref_tryget_live(ref);
}

static inline void qed_stall_percpu_ref_kill(struct percpu_ref *ref)
{
	percpu_ref_kill(ref);
	synchronize_srcu(&qed_stall_srcu);
}

#endif /* DM_QED_STALL_H */
