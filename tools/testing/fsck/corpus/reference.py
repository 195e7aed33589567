# SPDX-License-Identifier: GPL-2.0
"""The findings that qed-fsck(8) has to have, by its manual page and nothing else.

Slow, without repair, and meant to be obviously right: the sections below are
those of the manual page, in its order.  A finding is a dict with the members
that the manual page names for JSON.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../qedimg"))
import qedimg  # noqa: E402

LIMIT = 1 << 63                        # what an offset may reach
TOP = (1 << 64) - 1                    # and what can be told
DAMAGE, WASTE, NOTE = "damage", "waste", "note"
WASTES = {"l1-misplaced", "l1-entry-beyond-size", "l2-entry-beyond-size", "orphan-table",
          "mostly-leaked", "leak", "leak-tail"}
NOTES = {"need-check", "record-void"}
HEADER_CODES = ("cluster-size-illegal", "table-size-illegal", "header-size-illegal",
                "l1-offset-illegal", "l1-in-header", "l1-misplaced", "l1-over-end",
                "image-size-illegal", "backing-name-illegal")
# -p repairs only these
HARMLESS = {"leak", "leak-tail", "partial-cluster", "need-check", "record-untrue"}
# -y leaves these alone if there is an orphan-table
KEPT = {"orphan-table", "mostly-leaked", "leak", "leak-tail", "need-check",
        "record-void"}


def severity(code):
    """Damage, waste or note."""
    return NOTE if code in NOTES else WASTE if code in WASTES else DAMAGE


class Unusable(Exception):
    """Not one of QED, or with unknown features: exit status 8."""


class Reference:
    """What is wrong with an image.

    findings    in the order in which they are met
    scanned     were the tables read?
    guest       {guest cluster: 1 or offset of data} as it is to be after -y
    """

    def __init__(self, path, is_block=False):
        self.findings, self.guest = [], {}
        self.claims = {}               # cluster: (kind, guest's range or None)
        self.good_tables = []          # offsets
        self.shared = set()            # clusters that are referenced twice by what the guest sees
        self.may_be_cut = False        # by what is in shared tables
        self.referred = set()          # what shared tables have, and refer to
        self.tables_as_data = set()    # guest clusters that get the copy of a part of a table
        self.no_tables = set()         # L1 indexes whose tables are none, and are shared
        self.alone = set()             # those whose tables are none, and are not
        self.is_block = is_block
        self.record = None
        with qedimg.Disk(path) as self.disk:
            self.length = self.disk.size()
            self.hdr = qedimg.Header(self.disk.read(0, qedimg.HEADER.size))
            if self.length < qedimg.HEADER.size or self.hdr.magic != qedimg.MAGIC:
                raise Unusable("not a QED image")
            if self.hdr.features & ~qedimg.F_KNOWN:
                raise Unusable("unknown features")
            self.scanned = self.check_header()
            if self.scanned:
                self.check_tables()
                self.check_space()

    def add(self, code, **members):
        """A finding."""
        finding = {"code": code, "severity": severity(code)}
        for name, value in members.items():
            if value is not None:
                finding[name.replace("_", "-")] = value
        self.findings.append(finding)
        return finding

    def has(self, *codes):
        """Is there a finding with one of these codes?"""
        return any(finding["code"] in codes for finding in self.findings)

    # Header

    def check_header(self):
        """Check the fields and repair them in self.hdr; false if that is not possible."""
        hdr = self.hdr
        if not (qedimg.is_pow2(hdr.cluster_size) and 1 << 12 <= hdr.cluster_size <= 1 << 26):
            self.add("cluster-size-illegal", field="cluster_size", value=hdr.cluster_size)
        if not (qedimg.is_pow2(hdr.table_size) and hdr.table_size <= 16):
            self.add("table-size-illegal", field="table_size", value=hdr.table_size)
        if self.findings:
            return False
        self.count_clusters()
        if not (self.check_l1_place() and self.check_l1_end() and self.check_image_size()):
            return False
        if hdr.features & qedimg.F_BACKING and (
                hdr.backing_filename_size > 4095 or
                hdr.backing_filename_offset + hdr.backing_filename_size > hdr.header_bytes):
            fixed = hdr.features & ~(qedimg.F_BACKING | qedimg.F_NO_PROBE)
            self.add("backing-name-illegal", field="features", value=hdr.features, new_value=fixed)
        if hdr.autoclear_features & qedimg.AF_RECORD and not self.take_record(
                self.disk.read(qedimg.RECORD_OFFSET, qedimg.RECORD.size + 4)):
            self.add("record-void")
        if hdr.features & qedimg.F_NEED_CHECK:
            self.add("need-check")
        return True

    def take_record(self, data):
        """Is this a record, and not void? Sets self.record."""
        hdr = self.hdr
        got = dict(zip(qedimg.RECORD_FIELDS, qedimg.RECORD.unpack(data[:-4])))
        host = got["host"].rstrip(b"\0")
        name = (hdr.backing_filename_offset, hdr.backing_filename_size)
        if hdr.features & qedimg.F_BACKING and not self.has("backing-name-illegal") and (
                name[0] < 512 and sum(name) > 384):
            return False
        claims = [got[field] for field in ("end", "zero_from", "zero_end")]
        end, zero_from, zero_end = claims
        good = (qedimg.pack_record(**got) == data and
                (got["magic"], got["version"], got["reserved"]) ==
                (qedimg.RECORD_MAGIC, 1, 0) and got["flags"] in (0, 1) and
                len(host) in range(1, 64) and
                all(byte < 128 and (chr(byte).isalnum() or chr(byte) in "._-") for byte in host))
        if got["flags"] or hdr.features & qedimg.F_NEED_CHECK:
            good = good and not any(claims)
        if end:
            good = good and (end * hdr.cluster_size <= TOP and end >=
                             hdr.l1_table_offset // hdr.cluster_size + hdr.table_size)
        if any(claims[1:]):
            good = good and 0 < end <= zero_from < zero_end <= (
                got["device_size"] // hdr.cluster_size)
        self.record = got if good else None
        return good

    def check_record(self):
        """Is it true? self.top is the end of what is in use."""
        end = self.record["end"] if self.record else 0
        if 0 < end < self.top:
            self.add("record-untrue", offset=end * self.hdr.cluster_size,
                     length=(self.top - end) * self.hdr.cluster_size)

    def count_clusters(self):
        """Set how many clusters the file has: a part counts, but not on a device."""
        part = 0 if self.is_block else self.hdr.cluster_size - 1
        self.clusters = (self.length + part) // self.hdr.cluster_size

    def check_l1_place(self):
        """Size of the header and offset of the L1 table."""
        hdr = self.hdr
        size, offset = hdr.header_size, hdr.l1_table_offset
        size_bad = not 0 < hdr.header_bytes <= 0xffffffff
        offset_bad = (offset == 0 or offset % hdr.cluster_size != 0 or
                      offset >= self.clusters * hdr.cluster_size)
        inside = not size_bad and not offset_bad and offset < hdr.header_bytes
        if not (size_bad or offset_bad or inside):
            self.check_misplaced()
            return True

        smallest = 1
        if hdr.features & qedimg.F_BACKING and hdr.backing_filename_size <= 4095:
            name_end = hdr.backing_filename_offset + hdr.backing_filename_size
            needed = -(-name_end // hdr.cluster_size)
            if needed * hdr.cluster_size <= 0xffffffff:
                smallest = max(smallest, needed)
        places = []
        if not offset_bad:
            places.append((smallest, offset, size_bad))
        if not size_bad:
            places.append((size, size * hdr.cluster_size, False))
        places.append((smallest, smallest * hdr.cluster_size, False))
        # one that is empty only if no other has anything
        likely = [place for place in places if self.looks_like_l1(*place)]
        likely.sort(key=lambda place: not sum(self.survey(*place[:2])))
        if likely:
            new_size, new_offset = self.most_likely(likely[0], [] if size_bad else [size], smallest)
        else:
            new_size, new_offset = size, offset

        size_fix = {"field": "header_size", "value": size,
                    "new_value": new_size if new_size != size else None}
        offset_fix = {"field": "l1_table_offset", "value": offset,
                      "new_value": new_offset if new_offset != offset else None}
        changed = (new_size != size, new_offset != offset)
        if inside:
            self.add("l1-in-header", **(size_fix if changed[0] else offset_fix))
            if all(changed):
                self.add("l1-offset-illegal", **offset_fix)
        else:
            if size_bad or changed[0]:
                self.add("header-size-illegal", **size_fix)
            if offset_bad or changed[1]:
                self.add("l1-offset-illegal", **offset_fix)
        hdr.header_size, hdr.l1_table_offset = new_size, new_offset
        return any(changed)

    def most_likely(self, place, sizes, smallest):
        """Header and L1 table of this place, or behind a header if tables tell that from it."""
        header_size, offset, _ = place
        for size in sizes + [smallest]:
            behind = size * self.hdr.cluster_size
            if offset != header_size * self.hdr.cluster_size and (
                    sum(self.survey(header_size, offset)) and
                    self.is_rather(header_size, offset, size, behind)):
                return size, behind
        return header_size, offset

    def is_rather(self, header_size, offset, size, behind):
        """Is the second one an L1 table, and the tables of the first one rather none?"""
        if sum(self.survey(size, behind)) == 0 or not self.looks_like_l1(size, behind, False):
            return False
        some, none = self.count_tables(header_size, offset)
        others, no_others = self.count_tables(size, behind)
        return none > some and others * none > some * no_others

    def looks_like_l1(self, header_size, offset, zeroes_will_do):
        """Is this place of an L1 table plausible?"""
        hdr = self.hdr
        first = offset // hdr.cluster_size
        if first < header_size or first + hdr.table_size > self.clusters:
            return False
        legal, illegal = self.survey(header_size, offset)
        if not legal and not illegal:
            return zeroes_will_do or first + hdr.table_size == self.clusters
        return legal > illegal

    def survey(self, header_size, offset):
        """How many entries of an L1 table at this place would be legal and illegal?"""
        hdr = self.hdr
        legal = illegal = 0
        for index, value in self.disk.entries(offset, hdr.entries):
            over = self.is_block and value // hdr.cluster_size + hdr.table_size > self.clusters
            if over or self.is_beyond(index) or self.fault(
                    value, hdr.table_size, header_size, offset // hdr.cluster_size):
                illegal += 1
            else:
                legal += 1
        return legal, illegal

    def is_beyond(self, index):
        """Is an L1 entry beyond the size, if that can be known?"""
        return self.size_is_legal() and index * self.hdr.l2_span >= self.hdr.image_size

    def check_misplaced(self):
        """Is what looks like an L1 table not where it should be, but right behind the header?"""
        hdr = self.hdr
        offset, likely = hdr.l1_table_offset, hdr.header_bytes
        if offset == likely:
            return
        legal, illegal = self.survey(hdr.header_size, offset)
        over = offset // hdr.cluster_size + hdr.table_size > self.clusters
        if sum(self.survey(hdr.header_size, likely)) == 0 or (
                not self.looks_like_l1(hdr.header_size, likely, False)):
            return
        if legal > illegal and not self.is_rather(hdr.header_size, offset, hdr.header_size,
                                                  likely):
            return
        if legal == illegal == 0:      # which may be all that there is
            some, none = self.count_tables(hdr.header_size, likely)
            if none >= some:
                return
        self.add("l1-offset-illegal" if legal or illegal or over else "l1-misplaced",
                 field="l1_table_offset", value=offset, new_value=likely)
        hdr.l1_table_offset = likely

    def count_tables(self, header_size, offset):
        """How many L2 tables does an L1 table at this place refer to, and to what are none?"""
        hdr, some, none = self.hdr, 0, 0
        for index, table in self.disk.entries(offset, hdr.entries):
            if self.is_beyond(index) or self.fault(
                    table, hdr.table_size, header_size, offset // hdr.cluster_size):
                continue
            if table // hdr.cluster_size + hdr.table_size > self.clusters:
                continue
            legal = illegal = 0
            for _, value in self.disk.entries(table, hdr.entries):
                if value == 1 or not self.fault(value, 1, header_size,
                                                offset // hdr.cluster_size):
                    legal += 1
                else:
                    illegal += 1
            some += legal >= illegal and legal > 0
            none += illegal > legal
        return some, none

    def check_l1_end(self):
        """Does the L1 table reach over the end?"""
        end = self.hdr.l1_table_offset + self.hdr.table_bytes
        if end <= self.clusters * self.hdr.cluster_size:
            return True
        self.add("l1-over-end", offset=self.length, length=end - self.length)
        if self.is_block:
            return False
        self.length = end              # but no entry may refer to what is added
        return True

    def most(self):
        """The largest disk that the tables can map."""
        return min(self.hdr.entries * self.hdr.l2_span, LIMIT - 512)

    def size_is_legal(self):
        """Can the size of the disk be what the header says?"""
        return 0 < self.hdr.image_size <= self.most() and self.hdr.image_size % 512 == 0

    def check_image_size(self):
        """Size of the guest's disk."""
        hdr = self.hdr
        if self.size_is_legal():
            return True
        most, end = self.most(), self.mapped_end()
        new = hdr.image_size + -hdr.image_size % 512
        if not 0 < new <= most or end - hdr.cluster_size >= new:
            new = min(end, most)
        self.add("image-size-illegal", field="image_size", value=hdr.image_size,
                 new_value=new or None)
        hdr.image_size = new
        return new > 0

    def mapped_end(self):
        """End of the last guest cluster that entries without fault map."""
        hdr, end = self.hdr, 0
        for index, table in self.disk.entries(hdr.l1_table_offset, hdr.entries):
            over = table // hdr.cluster_size + hdr.table_size > self.clusters
            if self.fault(table, hdr.table_size) or (over and self.is_block):
                continue
            for number, value in self.disk.entries(table, hdr.entries):
                if value == 1 or not self.fault(value, 1):
                    end = index * hdr.l2_span + (number + 1) * hdr.cluster_size
        return end

    # Tables

    def fault(self, entry, count, header_size=None, l1_first=None):
        """Which rule an entry for this number of clusters breaks, by itself."""
        hdr = self.hdr
        first = entry // hdr.cluster_size
        if header_size is None:
            header_size, l1_first = hdr.header_size, hdr.l1_table_offset // hdr.cluster_size
        if entry % hdr.cluster_size:
            return "unaligned"
        if first < header_size:
            return "in-header"
        if first >= self.clusters:
            return "beyond-end"
        if first < l1_first + hdr.table_size and l1_first < first + count:
            return "on-l1"
        return None

    def guest_range(self, offset, length):
        """Cut a range at the end of the guest's disk, unless it begins there or behind."""
        size = self.hdr.image_size
        if offset < size:
            length = min(length, size - offset)
        start, end = min(offset, TOP), min(offset + length, TOP)
        return {"guest_offset": start, "guest_length": end - start}

    def check_tables(self):
        """Claim everything, in the order of the manual page."""
        before = list(self.findings)
        self.claim_all()
        hdr = self.hdr
        for index, entry in self.disk.entries(hdr.l1_table_offset, hdr.entries):
            if index * hdr.l2_span >= hdr.image_size or self.fault(entry, hdr.table_size) or (
                    self.is_block and self.clusters_of(entry)[-1] >= self.clusters):
                continue
            if not self.shared & set(self.clusters_of(entry)):
                self.alone |= {index} if self.is_surely_none(entry) else set()
            elif not self.is_table(entry):
                self.no_tables.add(index)
        if self.no_tables or self.alone:
            self.findings, self.guest, self.claims, self.good_tables = before, {}, {}, []
            self.tables_as_data, self.may_be_cut, self.referred = set(), False, set()
            self.claim_all()
            self.name_owners()

    def name_owners(self):
        """What is no table has no claim; the manual page leaves open which of its clusters tells
        who comes first, so this names the owner of the lowest one, and others_of() knows all."""
        for finding in self.findings:
            if finding["code"] == "l1-entry-shared" and finding["index"] in self.no_tables:
                finding["other"] = self.others_of(finding)[-1]

    def others_of(self, finding):
        """What may be said to be the first reference of an L1 entry that is no table."""
        return [{"kind": "unknown"}] + [
            self.other(self.claims[cluster])
            for cluster in reversed(self.clusters_of(finding["value"])) if cluster in self.claims]

    def clusters_of(self, entry):
        """Those of an L2 table."""
        first = entry // self.hdr.cluster_size
        return range(first, first + self.hdr.table_size)

    def claim_all(self):
        """The claims of all tables but those that are known to be none."""
        hdr = self.hdr
        entries = list(self.disk.entries(hdr.l1_table_offset, hdr.entries))
        inside = [item for item in entries if item[0] * hdr.l2_span < hdr.image_size]
        good = [item for item in inside if self.claim_table(*item, False)]
        for beyond in (False, True):
            for index, table in good:
                for number, value in self.disk.entries(table, hdr.entries):
                    start = index * hdr.l2_span + number * hdr.cluster_size
                    if (start >= hdr.image_size) == beyond:
                        self.claim_data(start, table, number, value, report_beyond=beyond)
        for index, table in entries[len(inside):]:
            if self.claim_table(index, table, True):
                for number, value in self.disk.entries(table, hdr.entries):
                    start = index * hdr.l2_span + number * hdr.cluster_size
                    self.claim_data(start, table, number, value, report_beyond=False)

    def claim_table(self, index, entry, beyond):
        """An L1 entry; true if its table is to be looked at."""
        hdr = self.hdr
        where = self.guest_range(index * hdr.l2_span, hdr.l2_span)
        about = dict(where, table_offset=hdr.l1_table_offset, index=index, value=entry)
        fault = self.fault(entry, hdr.table_size)
        if fault:
            self.add("l1-entry-" + fault, **about)
            return False
        if index in self.alone:
            self.add("l1-entry-no-table", **about)
            return False
        if index in self.no_tables:
            self.add("l1-entry-shared", other={"kind": "unknown"}, **about)
            self.look_at_shared(index, entry)
            return False
        wanted = self.clusters_of(entry)
        owners = [self.claims[cluster] for cluster in wanted if cluster in self.claims]
        over = wanted[-1] >= self.clusters
        missing = {"offset": self.length, "length": entry + hdr.table_bytes - self.length}
        if over and not owners and self.is_block:
            self.add("l1-entry-over-end", **about, **missing)
            return False
        if owners:
            self.add("l1-entry-shared", other=self.other(owners[0]), **about)
            self.refer(entry)
            if not beyond:
                self.shared |= set(wanted)
                self.map_shared_table(index, entry)
                self.look_at_shared(index, entry)
            return False
        for cluster in wanted:
            self.claims[cluster] = ("table", None if beyond else where)
        if over:
            self.add("l1-entry-over-end", **about, **missing)
        elif beyond:
            self.add("l1-entry-beyond-size", **about)
        self.good_tables.append(entry)
        return True

    def claim_data(self, start, table, number, entry, report_beyond):
        """An L2 entry for the guest's cluster at start."""
        hdr = self.hdr
        visible = start < hdr.image_size
        where = self.guest_range(start, hdr.cluster_size)
        about = dict(where, table_offset=table, index=number, value=entry)
        cluster = entry // hdr.cluster_size
        fault = entry != 1 and self.fault(entry, 1)
        if fault:
            self.add("l2-entry-" + fault, **about)
            return
        if visible:
            self.guest[start // hdr.cluster_size] = entry
        if entry == 1:
            return
        if cluster in self.claims:
            if visible:
                self.shared.add(cluster)
                if self.claims[cluster][0] == "table":
                    self.tables_as_data.add(start // hdr.cluster_size)
            self.add("l2-entry-shared", other=self.other(self.claims[cluster]), **about)
            return
        self.claims[cluster] = ("data", where if visible else None)
        if report_beyond:
            self.add("l2-entry-beyond-size", **about)

    def is_table(self, table):
        """Are not more of its entries illegal than legal?"""
        values = [value for _, value in self.disk.entries(table, self.hdr.entries) if value != 1]
        illegal = sum(self.fault(value, 1) is not None for value in values)
        return illegal <= len(values) - illegal

    def is_surely_none(self, table):
        """Has it nothing but what is illegal and not cut off, 16 times as often as 1?"""
        values = [value for _, value in self.disk.entries(table, self.hdr.entries)]
        wrong = [value for value in values if value != 1]
        return len(wrong) >= 16 * (values.count(1) + 1) and all(
            fault and not (fault == "beyond-end" and self.is_near(value))
            for value, fault in ((value, self.fault(value, 1)) for value in wrong))

    def map_shared_table(self, index, table):
        """What the guest is to see by a table that gets a copy."""
        hdr = self.hdr
        for number, value in self.disk.entries(table, hdr.entries):
            if (value == 1 or not self.fault(value, 1)) and (
                    index * hdr.l2_span + number * hdr.cluster_size < hdr.image_size):
                self.guest[index * hdr.entries + number] = value

    def look_at_shared(self, index, table):
        """What a table within the size refers to that claims nothing is shared, too."""
        hdr = self.hdr
        for number, value in self.disk.entries(table, hdr.entries):
            if index * hdr.l2_span + number * hdr.cluster_size < hdr.image_size and value != 1:
                fault = self.fault(value, 1)
                if not fault:
                    self.shared.add(value // hdr.cluster_size)
                self.may_be_cut |= fault == "beyond-end" and self.is_near(value)

    def refer(self, table):
        """Note what a shared table has and refers to, for what is leaked."""
        self.referred |= set(self.clusters_of(table)) | {
            value // self.hdr.cluster_size for _, value in self.disk.entries(
                table, self.hdr.entries) if value != 1 and not self.fault(value, 1)}

    def is_near(self, entry):
        """Does what is behind the end lie within what the file is long again?"""
        return entry // self.hdr.cluster_size < 2 * self.clusters

    @staticmethod
    def other(owner):
        """The first reference, as JSON has it."""
        kind, where = owner
        return dict({"kind": kind}, **{name.replace("_", "-"): value
                                       for name, value in (where or {}).items()})

    # Space

    def is_used(self, cluster):
        """Does anything refer to this cluster of the file?"""
        l1_first = self.hdr.l1_table_offset // self.hdr.cluster_size
        return (cluster < self.hdr.header_size or cluster in self.claims or
                l1_first <= cluster < l1_first + self.hdr.table_size)

    def check_space(self):
        """Length of the file, and leaks."""
        hdr = self.hdr
        size = hdr.cluster_size
        self.top = max([hdr.l1_table_offset // size + hdr.table_size - 1] + list(self.claims)) + 1
        self.check_record()
        self.leaked = 0
        if self.is_block:
            return
        part = self.length % size
        if part and self.is_used(self.length // size) and self.top <= self.clusters:
            self.add("partial-cluster", offset=self.length, length=size - part)
        runs = []
        for start, end in self.disk.data_ranges(0, min(self.length, self.top * size)):
            for cluster in range(start // size, -(-end // size)):
                if self.is_used(cluster) or (runs and cluster < runs[-1][1]):
                    continue
                self.leaked += 1
                if runs and runs[-1][1] == cluster:
                    runs[-1][1] += 1
                else:
                    runs.append([cluster, cluster + 1])
        for first, end in runs:
            self.add("leak", offset=first * size, length=(end - first) * size)
        if self.length > self.top * size:
            self.leaked += -(-self.length // size) - self.top
            self.add("leak-tail", offset=self.top * size, length=self.length - self.top * size)
        self.check_leaks()

    def check_leaks(self):
        """Are the leaks plausible as such? Those of a repair that was interrupted are."""
        size = self.hdr.cluster_size
        if self.hdr.features & qedimg.F_NEED_CHECK and self.hdr.autoclear_features & 1 << 62:
            return
        leaked = sorted({cluster for start, end in self.disk.data_ranges(0, self.length)
                         for cluster in range(start // size, -(-end // size))
                         if not self.is_referred(cluster)})
        if len(leaked) > self.hdr.header_size + self.hdr.table_size + len(self.claims):
            self.add("mostly-leaked")
        runs = []
        for cluster in leaked:
            if not self.is_orphan(cluster):
                continue
            if runs and sum(runs[-1]) == cluster and runs[-1][1] < self.hdr.table_size:
                runs[-1][1] += 1
            else:
                runs.append([cluster, 1])
        for first, count in runs:
            self.add("orphan-table", offset=first * size, length=count * size)

    def is_referred(self, cluster):
        """Is it in use, or does a shared table refer to it?"""
        return self.is_used(cluster) or cluster in self.referred

    def is_orphan(self, cluster):
        """Does a leaked cluster read as a part of an L2 table?"""
        size = self.hdr.cluster_size
        values = []
        for start in range(cluster * size, (cluster + 1) * size, 4096):
            if len(values) < 16:
                values += [value for _, value in self.disk.entries(start, 512) if value > 1]
        good = sum(value != last and not self.fault(value, 1) and not self.is_referred(value // size)
                   for last, value in zip([0] + values, values))
        return good > len(values) - good

    # The end of a run

    def summary(self):
        """Members of JSON that describe an image without damage."""
        hdr = self.hdr
        fragmented, last = 0, {}
        for cluster, value in sorted(self.guest.items()):
            if value > 1:
                index = cluster // min(hdr.entries, 32768)
                fragmented += last.get(index, value - hdr.cluster_size) + hdr.cluster_size != value
                last[index] = value
        used = hdr.header_size + hdr.table_size + len(self.claims)
        zeroes = sum(value == 1 for value in self.guest.values())
        leaked = sum(finding["length"] // hdr.cluster_size for finding in self.findings
                     if finding["code"] == "leak")
        return {"total-clusters": hdr.virtual_clusters, "zero-clusters": zeroes,
                "allocated-clusters": len(self.guest) - zeroes,
                "fragmented-clusters": fragmented, "tables": len(self.good_tables),
                "used-clusters": used, "free-clusters": self.top - used - leaked,
                "high-water-mark": self.top * hdr.cluster_size, "leaks": self.leaked}

    def is_cut(self):
        """Does an entry point behind the end, but to less than what the file is long again?"""
        return self.may_be_cut or any(
            finding["code"] in ("l1-entry-beyond-end", "l2-entry-beyond-end") and
            self.is_near(finding["value"]) and
            finding["guest-offset"] < self.hdr.image_size for finding in self.findings)

    def status(self, mode):
        """Exit status of qed-fsck -f with -n, -p or -y."""
        codes = {finding["code"] for finding in self.findings} - {"record-void"}
        if mode == "n" or not self.scanned:
            return 4 if codes - {"need-check"} else 0
        if mode == "p" and codes - HARMLESS:
            some = {"partial-cluster", "record-untrue"} & codes
            return 5 if some and not self.has(*HEADER_CODES) else 4
        if mode == "y" and "orphan-table" in codes:
            return 5 if codes - KEPT else 4
        return 1 if codes else 0
