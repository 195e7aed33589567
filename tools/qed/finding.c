// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names and severity of findings, see finding.h.
 */

#include "finding.h"

const char * const qed_code_names[QED_CODES] = {
	[QED_OK]			= "ok",
	[QED_CLUSTER_SIZE_ILLEGAL]	= "cluster-size-illegal",
	[QED_TABLE_SIZE_ILLEGAL]	= "table-size-illegal",
	[QED_HEADER_SIZE_ILLEGAL]	= "header-size-illegal",
	[QED_L1_OFFSET_ILLEGAL]		= "l1-offset-illegal",
	[QED_L1_IN_HEADER]		= "l1-in-header",
	[QED_L1_MISPLACED]		= "l1-misplaced",
	[QED_L1_OVER_END]		= "l1-over-end",
	[QED_IMAGE_SIZE_ILLEGAL]	= "image-size-illegal",
	[QED_BACKING_NAME_ILLEGAL]	= "backing-name-illegal",
	[QED_NEED_CHECK]		= "need-check",
	[QED_RECORD_VOID]		= "record-void",
	[QED_RECORD_UNTRUE]		= "record-untrue",
	[QED_L1_ENTRY_UNALIGNED]	= "l1-entry-unaligned",
	[QED_L1_ENTRY_IN_HEADER]	= "l1-entry-in-header",
	[QED_L1_ENTRY_BEYOND_END]	= "l1-entry-beyond-end",
	[QED_L1_ENTRY_ON_L1]		= "l1-entry-on-l1",
	[QED_L1_ENTRY_SHARED]		= "l1-entry-shared",
	[QED_L1_ENTRY_OVER_END]		= "l1-entry-over-end",
	[QED_L1_ENTRY_BEYOND_SIZE]	= "l1-entry-beyond-size",
	[QED_L1_ENTRY_NO_TABLE]		= "l1-entry-no-table",
	[QED_L2_ENTRY_UNALIGNED]	= "l2-entry-unaligned",
	[QED_L2_ENTRY_IN_HEADER]	= "l2-entry-in-header",
	[QED_L2_ENTRY_BEYOND_END]	= "l2-entry-beyond-end",
	[QED_L2_ENTRY_ON_L1]		= "l2-entry-on-l1",
	[QED_L2_ENTRY_SHARED]		= "l2-entry-shared",
	[QED_L2_ENTRY_OVER_END]		= "l2-entry-over-end",
	[QED_L2_ENTRY_BEYOND_SIZE]	= "l2-entry-beyond-size",
	[QED_PARTIAL_CLUSTER]		= "partial-cluster",
	[QED_ORPHAN_TABLE]		= "orphan-table",
	[QED_MOSTLY_LEAKED]		= "mostly-leaked",
	[QED_LEAK]			= "leak",
	[QED_LEAK_TAIL]			= "leak-tail",
	[QED_READ_ERROR]		= "read-error",
};

const char * const qed_severity_names[] = {
	[QED_DAMAGE]	= "damage",
	[QED_WASTE]	= "waste",
	[QED_NOTE]	= "note",
	[QED_ERROR]	= "error",
};

const char * const qed_action_names[] = {
	[QED_ACTION_NONE]	= "none",
	[QED_ACTION_SET]	= "set",
	[QED_ACTION_CLEARED]	= "cleared",
	[QED_ACTION_COPIED]	= "copied",
	[QED_ACTION_EXTENDED]	= "extended",
	[QED_ACTION_PUNCHED]	= "punched",
	[QED_ACTION_TRUNCATED]	= "truncated",
	[QED_ACTION_RECONNECTED] = "reconnected",
};

const char * const qed_owner_names[] = {
	[QED_OWNER_UNKNOWN]	= "unknown",
	[QED_OWNER_TABLE]	= "table",
	[QED_OWNER_DATA]	= "data",
};

enum qed_severity qed_code_severity(enum qed_code code)
{
	switch (code) {
	case QED_OK:
	case QED_NEED_CHECK:
	case QED_RECORD_VOID:
		return QED_NOTE;
	case QED_L1_MISPLACED:
	case QED_L1_ENTRY_BEYOND_SIZE:
	case QED_L2_ENTRY_BEYOND_SIZE:
	case QED_ORPHAN_TABLE:
	case QED_MOSTLY_LEAKED:
	case QED_LEAK:
	case QED_LEAK_TAIL:
		return QED_WASTE;
	case QED_READ_ERROR:
		return QED_ERROR;
	default:
		return QED_DAMAGE;
	}
}
