// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of the record in the header, see dm-qed-kunit.c.
 */

/* The first sector of an image */
union first_sector {
	struct qed_header header;
	u8 bytes[SECTOR_SIZE];
};

/* Too large for a stack, and cases come one by one */
static union first_sector sector, before;

static struct qed_disk_record *disk_of(union first_sector *first)
{
	return (void *)first->bytes + QED_RECORD_OFFSET;
}

/* Clusters of 64 KiB, tables of 4: the L1 table ends before cluster 5 */
static void record_image(union first_sector *first)
{
	memset(first->bytes, 0xaa, sizeof(*first));
	good_header(&first->header, 65536, 4);
}

static void good_record(struct qed_record *record)
{
	unsigned int i;

	memset(record, 0, sizeof(*record));
	for (i = 0; i < QED_OWNER_SIZE; i++)
		record->owner[i] = 0xf0 + i;
	strscpy(record->host, "node-1.example_org", QED_HOST_SIZE);
	record->end = 0x123456789ULL;
	record->zero_from = 0x123456799ULL;
	record->zero_end = 0x1234567a0ULL;
	record->device_size = 0x1234567a0ULL * 65536 + 512;
}

static void seal(union first_sector *first)
{
	disk_of(first)->crc = record_crc(disk_of(first));
}

static int parse_record(const union first_sector *first)
{
	struct qed_record record;
	const char *what = NULL;
	int r = qed_record_parse(&record, &first->header, &what);

	return (r == -EUCLEAN) == !!what ? r : -EINVAL;
}

static void record_known_crc(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ~qed_crc32c(~0, "123456789", 9), 0xe3069283U);
}

/* Byte by byte, as the documentation has it, whatever the processor */
static void record_bytes(struct kunit *test)
{
	static const u8 want[] = {
		'Q', 'E', 'D', 'R', 1, 0, 0, 0,
		0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,
		0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
		'n', 'o', 'd', 'e', '-', '1', '.', 'e',
		'x', 'a', 'm', 'p', 'l', 'e', '_', 'o', 'r', 'g',
		[88] = 0x89, 0x67, 0x45, 0x23, 0x01, 0, 0, 0,
		0x99, 0x67, 0x45, 0x23, 0x01, 0, 0, 0,
		0xa0, 0x67, 0x45, 0x23, 0x01, 0, 0, 0,
		0x00, 0x02, 0xa0, 0x67, 0x45, 0x23, 0x01, 0,
		0, 0, 0, 0, 0x5f, 0x52, 0x9e, 0x86,
	};
	struct qed_record record;

	record_image(&sector);
	before = sector;
	good_record(&record);
	KUNIT_ASSERT_TRUE(test, qed_record_build(&sector.header, &record));
	KUNIT_EXPECT_EQ(test, sizeof(want), sizeof(struct qed_disk_record));
	KUNIT_EXPECT_EQ(test, 0, memcmp(disk_of(&sector), want, sizeof(want)));
	KUNIT_EXPECT_EQ(test, sector.bytes[39], 0x80);
	before.bytes[39] = 0x80;
	KUNIT_EXPECT_EQ(test, 0, memcmp(sector.bytes, before.bytes, QED_RECORD_OFFSET));
}

static void record_round(struct kunit *test)
{
	struct qed_record record, got;
	const char *what;

	record_image(&sector);
	good_record(&record);
	qed_record_build(&sector.header, &record);
	KUNIT_ASSERT_EQ(test, 0, qed_record_parse(&got, &sector.header, &what));
	KUNIT_EXPECT_EQ(test, 0, memcmp(got.owner, record.owner, QED_OWNER_SIZE));
	KUNIT_EXPECT_EQ(test, 0, strcmp(got.host, record.host));
	KUNIT_EXPECT_FALSE(test, got.active);
	KUNIT_EXPECT_EQ(test, got.end, record.end);
	KUNIT_EXPECT_EQ(test, got.zero_from, record.zero_from);
	KUNIT_EXPECT_EQ(test, got.zero_end, record.zero_end);
	KUNIT_EXPECT_EQ(test, got.device_size, record.device_size);

	sector.header.autoclear_features = 0;
	KUNIT_EXPECT_EQ(test, -ENOENT, parse_record(&sector));
}

/* What is in use claims nothing, and where it does it is no record. */
static void record_in_use(struct kunit *test)
{
	struct qed_record record, got;
	const char *what;
	unsigned int i;

	for (i = 1; i < 4; i++) {
		record_image(&sector);
		good_record(&record);
		record.active = i & 1;
		if (i & 2)
			sector.header.features = cpu_to_le64(QED_F_NEED_CHECK);
		KUNIT_EXPECT_TRUE(test, qed_record_build(&sector.header, &record));
		KUNIT_ASSERT_EQ(test, 0, qed_record_parse(&got, &sector.header, &what));
		KUNIT_EXPECT_EQ(test, got.active, record.active);
		KUNIT_EXPECT_EQ(test, 0, got.end | got.zero_from | got.zero_end);
		KUNIT_EXPECT_EQ(test, got.device_size, record.device_size);

		disk_of(&sector)->end = cpu_to_le64(100);
		seal(&sector);
		KUNIT_EXPECT_EQ(test, -EUCLEAN, parse_record(&sector));
	}
	/* whoever does not know the record has set it, and not cleared bit 63 */
	record_image(&sector);
	good_record(&record);
	qed_record_build(&sector.header, &record);
	sector.header.features = cpu_to_le64(QED_F_NEED_CHECK);
	KUNIT_EXPECT_EQ(test, -EUCLEAN, parse_record(&sector));
}

/* Each bit of it counts. */
static void record_each_bit(struct kunit *test)
{
	struct qed_record record;
	unsigned int bit;

	record_image(&sector);
	good_record(&record);
	qed_record_build(&sector.header, &record);
	for (bit = QED_RECORD_OFFSET * 8; bit < SECTOR_SIZE * 8; bit++) {
		sector.bytes[bit / 8] ^= 1 << bit % 8;
		KUNIT_EXPECT_EQ(test, -EUCLEAN, parse_record(&sector));
		sector.bytes[bit / 8] ^= 1 << bit % 8;
	}
	KUNIT_EXPECT_EQ(test, 0, parse_record(&sector));
}

/* Values with a right checksum */
static void record_values(struct kunit *test)
{
	struct qed_disk_record disk;
	u64 end = 0x1234567a0ULL;
	struct qed_record record;

	record_image(&before);
	good_record(&record);
	qed_record_build(&before.header, &record);

#define WITH(field, value, result) \
	do { \
		sector = before; \
		disk = *disk_of(&sector); \
		disk.field = value; \
		*disk_of(&sector) = disk; \
		seal(&sector); \
		KUNIT_EXPECT_EQ(test, result, parse_record(&sector)); \
	} while (0)
	WITH(magic, cpu_to_le32(QED_RECORD_MAGIC), 0);
	WITH(magic, cpu_to_le32(QED_MAGIC), -EUCLEAN);
	WITH(version, 0, -EUCLEAN);
	WITH(version, cpu_to_le16(2), -EUCLEAN);
	WITH(flags, cpu_to_le16(2), -EUCLEAN);
	WITH(flags, cpu_to_le16(0x8000), -EUCLEAN);
	WITH(reserved, cpu_to_le32(1), -EUCLEAN);
	WITH(end, 0, -EUCLEAN);
	WITH(end, cpu_to_le64(4), -EUCLEAN);
	WITH(end, cpu_to_le64(5), 0);
	WITH(end, cpu_to_le64(record.zero_from), 0);
	WITH(end, cpu_to_le64(record.zero_from + 1), -EUCLEAN);
	WITH(zero_from, cpu_to_le64(end), -EUCLEAN);
	WITH(zero_from, cpu_to_le64(end - 1), 0);
	WITH(zero_from, 0, -EUCLEAN);
	WITH(zero_end, cpu_to_le64(end + 1), -EUCLEAN);
	WITH(zero_end, 0, -EUCLEAN);
	WITH(zero_end, cpu_to_le64(U64_MAX), -EUCLEAN);
	WITH(device_size, cpu_to_le64(end * 65536), 0);
	WITH(device_size, cpu_to_le64(end * 65536 - 1), -EUCLEAN);
	WITH(device_size, 0, -EUCLEAN);

	record.zero_from = 0;
	record.zero_end = 0;
	record.device_size = 0;
	qed_record_build(&before.header, &record);
	WITH(end, 0, 0);
	WITH(end, cpu_to_le64(U64_MAX >> 16), 0);
	WITH(end, cpu_to_le64((U64_MAX >> 16) + 1), -EUCLEAN);
	WITH(zero_from, cpu_to_le64(end), -EUCLEAN);
	WITH(device_size, cpu_to_le64(end), 0);
#undef WITH
}

static void record_hosts(struct kunit *test)
{
	static const char * const bad[] = {
		"", "(none)", "a b", "a/b", "a\nb", "\xe4", "a\x7f",
		"0123456789012345678901234567890123456789012345678901234567890123",
	};
	static const char * const good[] = {
		"a", "AZ.az-09_", "...", "localhost",
		"012345678901234567890123456789012345678901234567890123456789012",
	};
	struct qed_record record, got;
	const char *what;
	unsigned int i;

	record_image(&sector);
	good_record(&record);
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		KUNIT_EXPECT_TRUE(test, qed_host_is_legal(good[i]));
		strscpy(record.host, good[i], QED_HOST_SIZE);
		qed_record_build(&sector.header, &record);
		KUNIT_ASSERT_EQ(test, 0, qed_record_parse(&got, &sector.header, &what));
		KUNIT_EXPECT_EQ(test, 0, strcmp(got.host, good[i]));
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_FALSE(test, qed_host_is_legal(bad[i]));
		memset(disk_of(&sector)->host, 0, QED_HOST_SIZE);
		memcpy(disk_of(&sector)->host, bad[i], strlen(bad[i]));
		seal(&sector);
		KUNIT_EXPECT_EQ(test, -EUCLEAN, parse_record(&sector));
	}
	/* something behind the NUL */
	qed_record_build(&sector.header, &record);
	disk_of(&sector)->host[QED_HOST_SIZE - 1] = 'x';
	seal(&sector);
	KUNIT_EXPECT_EQ(test, -EUCLEAN, parse_record(&sector));
}

/* Beside a name of a backing file */
static void record_room(struct kunit *test)
{
	static const struct {
		u32 offset, size;
		bool room;
	} names[] = {
		{ 64, 320, true }, { 64, 321, false }, { 384, 1, false },
		{ 511, 1, false }, { 512, 1, true }, { 383, 2, false },
		{ 64, 4095, false }, { U32_MAX, U32_MAX, true },
		{ 0, U32_MAX, false }, { 384, 0, true },
	};
	struct qed_record record;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		record_image(&sector);
		sector.header.backing_filename_offset = cpu_to_le32(names[i].offset);
		sector.header.backing_filename_size = cpu_to_le32(names[i].size);
		good_record(&record);
		/* without the feature it is no name */
		KUNIT_EXPECT_TRUE(test, qed_record_build(&sector.header, &record));
		KUNIT_EXPECT_EQ(test, 0, parse_record(&sector));

		sector.header.features = cpu_to_le64(QED_F_BACKING_FILE);
		KUNIT_EXPECT_EQ(test, names[i].room,
				qed_record_has_room(&sector.header));
		KUNIT_EXPECT_EQ(test, names[i].room ? 0 : -EUCLEAN,
				parse_record(&sector));
		before = sector;
		before.header.autoclear_features = 0;
		KUNIT_EXPECT_EQ(test, names[i].room,
				qed_record_build(&sector.header, &record));
		if (!names[i].room)
			KUNIT_EXPECT_EQ(test, 0, memcmp(before.bytes, sector.bytes,
							sizeof(sector)));
	}
}

#define COMPARE(result) \
	KUNIT_EXPECT_EQ(test, result, qed_record_compare(&sector.header, &before.header, owner))

static struct qed_record ours, other;
static const u8 * const owner = ours.owner;

/* An image, in before and sector, that has our record */
static void our_image(void)
{
	record_image(&sector);
	sector.header.features = 0;
	sector.header.autoclear_features = 0;
	good_record(&ours);
	ours.active = true;
	other = ours;
	other.owner[15] ^= 1;
	qed_record_build(&sector.header, &ours);
	before = sector;
}

/* Whose it is by now: looked at before each write */
static void record_compare(struct kunit *test)
{
	our_image();
	COMPARE(QED_RECORD_SAME);
	sector.header.features |= cpu_to_le64(QED_F_NEED_CHECK);
	COMPARE(QED_RECORD_SAME);
	/* a write of ours that has told of an error */
	ours.active = false;
	qed_record_build(&sector.header, &ours);
	COMPARE(QED_RECORD_SAME);
	sector.header.autoclear_features = 0;
	COMPARE(QED_RECORD_VOID);

	sector = before;
	sector.header.autoclear_features = 0;
	COMPARE(QED_RECORD_VOID);
	qed_record_build(&sector.header, &other);
	COMPARE(QED_RECORD_FOREIGN);
	other.active = false;
	qed_record_build(&sector.header, &other);
	COMPARE(QED_RECORD_FOREIGN);
	/* and then by one who knows no record */
	sector.header.autoclear_features = 0;
	COMPARE(QED_RECORD_FOREIGN);
}

/* With the bit set what is not understood is somebody else's, too. */
static void record_compare_unknown(struct kunit *test)
{
	unsigned int bit;

	our_image();
	for (bit = QED_RECORD_OFFSET * 8; bit < SECTOR_SIZE * 8; bit++) {
		sector.bytes[bit / 8] ^= 1 << bit % 8;
		COMPARE(QED_RECORD_FOREIGN);
		sector.bytes[bit / 8] ^= 1 << bit % 8;
	}
	disk_of(&sector)->version = cpu_to_le16(2);
	seal(&sector);
	COMPARE(QED_RECORD_FOREIGN);
}

/* Where we have written none: it was void, or there was no space, or no room */
static void record_compare_none(struct kunit *test)
{
	our_image();
	before.header.autoclear_features = 0;
	sector = before;
	COMPARE(QED_RECORD_SAME);
	/* our write has succeeded all the same */
	qed_record_build(&sector.header, &ours);
	COMPARE(QED_RECORD_SAME);
	qed_record_build(&sector.header, &other);
	COMPARE(QED_RECORD_FOREIGN);
	sector.header.autoclear_features = 0;
	COMPARE(QED_RECORD_FOREIGN);

	/* that of another one, found, and left for want of space */
	qed_record_build(&before.header, &other);
	sector = before;
	COMPARE(QED_RECORD_SAME);
	other.owner[0] ^= 1;
	qed_record_build(&sector.header, &other);
	COMPARE(QED_RECORD_FOREIGN);
}

/* Each bit of the header but these, also if the record is ours */
static void record_compare_header(struct kunit *test)
{
	unsigned int bit;

	for (bit = 0; bit < sizeof(struct qed_header) * 8; bit++) {
		our_image();
		sector.bytes[bit / 8] ^= 1 << bit % 8;
		KUNIT_EXPECT_FALSE(test, qed_record_untouched(&sector.header, &before.header));
		KUNIT_EXPECT_NE(test, qed_record_key(&sector.header),
				qed_record_key(&before.header));
		if (bit == 16 * 8 + 1 || (bit >= 32 * 8 && bit < 40 * 8))
			continue;
		COMPARE(QED_RECORD_GONE);
	}
	memset(sector.bytes, 0, sizeof(sector));
	COMPARE(QED_RECORD_GONE);
	memset(sector.bytes, 0xff, sizeof(sector));
	COMPARE(QED_RECORD_GONE);
}

/* What an activation has to find as it was: not what is between header and record */
static void record_untouched(struct kunit *test)
{
	unsigned int byte;

	our_image();
	for (byte = 0; byte < SECTOR_SIZE; byte++) {
		bool counts = byte < sizeof(struct qed_header) || byte >= QED_RECORD_OFFSET;

		sector.bytes[byte] ^= 0x10;
		KUNIT_EXPECT_EQ(test, !counts,
				qed_record_untouched(&sector.header, &before.header));
		KUNIT_EXPECT_EQ(test, !counts, qed_record_key(&sector.header) ==
				qed_record_key(&before.header));
		sector.bytes[byte] ^= 0x10;
	}
	KUNIT_EXPECT_TRUE(test, qed_record_untouched(&sector.header, &before.header));
}

#undef COMPARE

static void record_owners(struct kunit *test)
{
	struct qed_owner first, table, other;
	struct qed_record record;
	int device;

	qed_owner_init(&first);
	qed_owner_init(&table);
	qed_owner_init(&other);
	qed_owner_leave(&first);
	good_record(&record);
	qed_owner_enter(&table, record.host, &device);
	qed_owner_enter(&other, "another", &record);
	KUNIT_EXPECT_EQ(test, QED_HOLDER_NONE, qed_owner_judge(&table, &record));
	record.active = true;
	KUNIT_EXPECT_EQ(test, QED_HOLDER_GONE, qed_owner_judge(&table, &record));
	KUNIT_EXPECT_EQ(test, QED_HOLDER_AWAY, qed_owner_judge(&other, &record));

	/* another table of a device, whatever it calls the host */
	qed_owner_enter(&first, "renamed", &device);
	memcpy(record.owner, first.id, QED_OWNER_SIZE);
	strscpy(record.host, "renamed", QED_HOST_SIZE);
	table.host = "by another name";
	KUNIT_EXPECT_EQ(test, QED_HOLDER_GONE, qed_owner_judge(&table, &record));
	KUNIT_EXPECT_EQ(test, QED_HOLDER_HERE, qed_owner_judge(&other, &record));
	qed_owner_leave(&first);
	KUNIT_EXPECT_EQ(test, QED_HOLDER_AWAY, qed_owner_judge(&table, &record));
	KUNIT_EXPECT_EQ(test, QED_HOLDER_AWAY, qed_owner_judge(&other, &record));
	qed_owner_enter(&first, record.host, &device);
	KUNIT_EXPECT_NE(test, 0, memcmp(record.owner, first.id, QED_OWNER_SIZE));
	qed_owner_leave(&first);
	qed_owner_leave(&table);
	qed_owner_leave(&other);
}

/* Of two with one key the second one waits; others do not. */
static void record_takes(struct kunit *test)
{
	struct qed_owner first, second;

	qed_owner_init(&first);
	qed_owner_init(&second);
	qed_owner_enter(&first, "a", &first);
	qed_owner_enter(&second, "a", &second);
	KUNIT_EXPECT_EQ(test, 0, qed_owner_begin_take(&first, 5, false));
	KUNIT_EXPECT_FALSE(test, may_begin_take(&second, 5, false));
	KUNIT_EXPECT_EQ(test, 0, qed_owner_begin_take(&second, 6, false));
	qed_owner_end_take(&second, false);
	qed_owner_end_take(&first, false);
	KUNIT_EXPECT_TRUE(test, may_begin_take(&second, 5, false));
	qed_owner_end_take(&second, false);
	qed_owner_leave(&first);
	qed_owner_leave(&second);
}

/* What could not be written is another device's all the same, until it has been written. */
static void record_put_off(struct kunit *test)
{
	struct qed_owner first, table, other;
	int device;

	qed_owner_init(&first);
	qed_owner_init(&table);
	qed_owner_init(&other);
	qed_owner_enter(&first, "a", &device);
	qed_owner_enter(&table, "a", &device);
	qed_owner_enter(&other, "a", &other);
	KUNIT_EXPECT_EQ(test, 0, qed_owner_begin_take(&first, 5, false));
	qed_owner_end_take(&first, true);
	KUNIT_EXPECT_EQ(test, -EBUSY, qed_owner_begin_take(&other, 5, false));
	KUNIT_EXPECT_EQ(test, 0, qed_owner_begin_take(&other, 5, true));
	qed_owner_end_take(&other, false);
	KUNIT_EXPECT_EQ(test, 0, qed_owner_begin_take(&other, 6, false));
	qed_owner_end_take(&other, false);
	KUNIT_EXPECT_EQ(test, 0, qed_owner_begin_take(&table, 5, false));
	qed_owner_end_take(&table, false);
	qed_owner_written(&first);
	KUNIT_EXPECT_EQ(test, 0, qed_owner_begin_take(&other, 5, false));
	qed_owner_end_take(&other, false);
	qed_owner_leave(&first);
	qed_owner_leave(&table);
	qed_owner_leave(&other);
}

static void record_default_host(struct kunit *test)
{
	char host[QED_HOST_SIZE];

	memset(host, 'x', sizeof(host));
	qed_host_default(host);
	KUNIT_EXPECT_TRUE(test, qed_host_is_legal(host));
}

static struct kunit_case record_cases[] = {
	KUNIT_CASE(record_known_crc),
	KUNIT_CASE(record_bytes),
	KUNIT_CASE(record_round),
	KUNIT_CASE(record_in_use),
	KUNIT_CASE(record_each_bit),
	KUNIT_CASE(record_values),
	KUNIT_CASE(record_hosts),
	KUNIT_CASE(record_room),
	KUNIT_CASE(record_compare),
	KUNIT_CASE(record_compare_unknown),
	KUNIT_CASE(record_compare_none),
	KUNIT_CASE(record_compare_header),
	KUNIT_CASE(record_untouched),
	KUNIT_CASE(record_owners),
	KUNIT_CASE(record_takes),
	KUNIT_CASE(record_put_off),
	KUNIT_CASE(record_default_host),
	{}
};

static struct kunit_suite record_suite = {
	.name = "dm_qed_record",
	.test_cases = record_cases,
};
