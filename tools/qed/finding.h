/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a check finds in an image.
 */

#ifndef QED_FINDING_H
#define QED_FINDING_H

#include "common.h"

/* qed-fsck(8) tells what they mean. L1 and L2 codes are in the same order. */
enum qed_code {
	QED_OK,

	QED_CLUSTER_SIZE_ILLEGAL,
	QED_TABLE_SIZE_ILLEGAL,
	QED_HEADER_SIZE_ILLEGAL,
	QED_L1_OFFSET_ILLEGAL,
	QED_L1_IN_HEADER,
	QED_L1_MISPLACED,
	QED_L1_OVER_END,
	QED_IMAGE_SIZE_ILLEGAL,
	QED_BACKING_NAME_ILLEGAL,
	QED_NEED_CHECK,
	QED_RECORD_VOID,
	QED_RECORD_UNTRUE,

	QED_L1_ENTRY_UNALIGNED,
	QED_L1_ENTRY_IN_HEADER,
	QED_L1_ENTRY_BEYOND_END,
	QED_L1_ENTRY_ON_L1,
	QED_L1_ENTRY_SHARED,
	QED_L1_ENTRY_OVER_END,
	QED_L1_ENTRY_BEYOND_SIZE,
	QED_L1_ENTRY_NO_TABLE,		/* no L2 code is like it */

	QED_L2_ENTRY_UNALIGNED,
	QED_L2_ENTRY_IN_HEADER,
	QED_L2_ENTRY_BEYOND_END,
	QED_L2_ENTRY_ON_L1,
	QED_L2_ENTRY_SHARED,
	QED_L2_ENTRY_OVER_END,		/* cannot be */
	QED_L2_ENTRY_BEYOND_SIZE,

	QED_PARTIAL_CLUSTER,
	QED_ORPHAN_TABLE,
	QED_MOSTLY_LEAKED,
	QED_LEAK,
	QED_LEAK_TAIL,

	QED_READ_ERROR,

	QED_CODES
};

enum qed_severity {
	QED_DAMAGE,
	QED_WASTE,
	QED_NOTE,
	QED_ERROR,
};

enum qed_action {
	QED_ACTION_NONE,
	QED_ACTION_SET,
	QED_ACTION_CLEARED,
	QED_ACTION_COPIED,
	QED_ACTION_EXTENDED,
	QED_ACTION_PUNCHED,
	QED_ACTION_TRUNCATED,
	QED_ACTION_RECONNECTED,
};

/* The first reference to a shared cluster */
enum qed_owner_kind {
	QED_OWNER_UNKNOWN,
	QED_OWNER_TABLE,
	QED_OWNER_DATA,
};

/* Which members of a finding are used */
#define QED_HAS_GUEST		0x01
#define QED_HAS_ENTRY		0x02	/* table_offset and index */
#define QED_HAS_VALUE		0x04
#define QED_HAS_NEW_VALUE	0x08
#define QED_HAS_RANGE		0x10	/* offset and length */
#define QED_HAS_OWNER		0x20
#define QED_HAS_OWNER_GUEST	0x40

/**
 * struct qed_finding - a finding
 * @code: what it is
 * @action: what was done about it
 * @has: QED_HAS_...
 * @field: name of a field of the header, or NULL
 * @table_offset: of the table with the entry, in bytes
 * @index: of the entry
 * @value: of the entry or field
 * @new_value: offset of the copy; what a field was or would be set to
 * @guest_offset: of what is concerned, on the guest's disk, in bytes
 * @guest_length: in bytes
 * @offset: of what is concerned, in the image, in bytes
 * @length: in bytes
 * @owner: kind of the first reference
 * @owner_offset: guest's range of that, in bytes
 * @owner_length: in bytes
 */
struct qed_finding {
	enum qed_code code;
	enum qed_action action;
	unsigned int has;
	const char *field;
	u64 table_offset, index, value, new_value;
	u64 guest_offset, guest_length;
	u64 offset, length;
	enum qed_owner_kind owner;
	u64 owner_offset, owner_length;
};

/* Names as in the manual page; those of codes, "damage", "none", ... */
extern const char * const qed_code_names[QED_CODES];
extern const char * const qed_severity_names[];
extern const char * const qed_action_names[];
extern const char * const qed_owner_names[];

enum qed_severity qed_code_severity(enum qed_code code);

#endif /* QED_FINDING_H */
