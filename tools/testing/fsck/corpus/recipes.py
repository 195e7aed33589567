# SPDX-License-Identifier: GPL-2.0
"""Recipes for damaged images, each with what has to be found, stated by hand.

A recipe is a function that damages a base image and says what follows from it:
findings, what is leaked, and what the guest loses.  Nothing here is computed by
a checker.  A recipe that spoils bytes at random states nothing: there the
reference checker is the judge.
"""

import os
import random

import images
from images import GEOMETRIES, K, M
from reference import LIMIT, qedimg, severity

RECIPES = {}                           # name: (group, geometry, function)
TOP = 1 << 64


def recipe(group, geometry, name, function):
    """Register a recipe."""
    name = "%s/%s/%s" % (group, geometry, name)
    if name in RECIPES:
        raise ValueError("two recipes are called " + name)
    RECIPES[name] = (group, GEOMETRIES[geometry], function)


class Wanted:
    """Findings and exit statuses that a recipe states."""

    def __init__(self, findings, statuses):
        self.findings = findings
        self.n, self.p, self.y = statuses


class Damage(images.Base):
    """A base image that is being damaged, and what has to be found in it."""

    def __init__(self, path, geometry):
        super().__init__(path, geometry)
        self.findings = []
        self.orphans = set()           # names of what nothing refers to any more
        self.stated = True             # by hand; else the reference is the judge
        self.usable = True             # exit status 8 else
        self.statuses = None           # of -n, -p, -y, if not the usual ones
        self.guest_stated = True
        self.special = {}              # guest cluster: {offset: block}, where it is no stamp
        self.image_size = self.size    # as it is to be
        self.claimed_end = 0           # of tables that reach over the end
        self.file_size = None          # where it is not that of what was placed

    # Findings

    def find(self, code, **members):
        """State a finding."""
        finding = {"code": code, "severity": severity(code)}
        finding.update((name.replace("_", "-"), value) for name, value in members.items()
                       if value is not None)
        self.findings.append(finding)

    def seen(self, start, length):
        """A range of the guest's disk, cut at its end."""
        if start < self.image_size:
            length = min(length, self.image_size - start)
        end = min(start + length, TOP - 1)
        start = min(start, TOP - 1)
        return {"guest_offset": start, "guest_length": end - start}

    def l1_about(self, index, value):
        """What a finding says of an L1 entry."""
        return dict(self.seen(index * self.span, self.span), table_offset=self.at["l"],
                    index=index, value=value % TOP)

    def l2_about(self, name, value):
        """What a finding says of an L2 entry."""
        cluster = self.number(name)
        return dict(self.seen(cluster * self.cluster, self.cluster),
                    table_offset=self.table_of(name), index=cluster % self.entries,
                    value=value % TOP)

    def range_of(self, name):
        """The guest's range of a table or a cluster of data, as a finding names its owner."""
        if name[0] == "t":
            index = self.last if name == "tz" else int(name[1:])
            where = self.seen(index * self.span, self.span)
        else:
            where = self.seen(self.number(name) * self.cluster, self.cluster)
        return dict({"kind": "table" if name[0] == "t" else "data"},
                    **{key.replace("_", "-"): value for key, value in where.items()})

    # Damage

    def lose_table(self, index):
        """The guest loses all that the table of this L1 entry maps."""
        for cluster in [cluster for cluster in self.content if cluster // self.entries == index]:
            del self.content[cluster]
        table = "t%d" % index if index != self.last or "tz" not in self.at else "tz"
        if table in self.at:
            self.orphans |= {name for name in self.order if name[0] not in "hltfb" and
                             "t" + name.split(".")[0] == table} | {table}

    def l1(self, index, value, code, **members):
        """An L1 entry with a fault, by which its table is lost."""
        self.lose_table(index)
        self.put_entry(self.at["l"], index, value)
        self.find("l1-entry-" + code, **self.l1_about(index, value), **members)

    def l2(self, name, value, code, **members):
        """An L2 entry with a fault, by which its cluster is lost."""
        if name in self.at:
            self.orphans.add(name)
        self.map(name, value)
        self.content.pop(self.number(name), None)
        self.find("l2-entry-" + code, **self.l2_about(name, value), **members)

    def share(self, name, other):
        """An L2 entry gets the data of another, which comes first or not."""
        first, second = sorted((name, other), key=self.number)
        if name in self.at:
            self.orphans.add(name)
        value = self.at[other]
        self.map(name, value)
        self.content[self.number(name)] = self.number(other)
        self.find("l2-entry-shared", other=self.range_of(first), **self.l2_about(second, value))

    def free(self, name, data=True):
        """A cluster behind all others that nothing refers to: data or a hole."""
        self.place(name)
        if data:
            self.put(self.at[name], qedimg.stamp(self.at[name], images.BLOCK, 99))
            self.orphans.add(name)
        return self.at[name]

    def use(self, name):
        """It is referenced."""
        self.orphans.discard(name)

    def table_beyond(self, index):
        """A table for an L1 entry beyond the size, "b"; states the finding."""
        self.place_table("b")
        self.at["t%d" % index] = self.at["b"]
        self.put_entry(self.at["l"], index, self.at["b"])
        self.find("l1-entry-beyond-size", **self.l1_about(index, self.at["b"]))
        return self.at["b"]

    def need_check(self):
        """The image was not closed."""
        features = (qedimg.F_BACKING | qedimg.F_NO_PROBE if self.geo.backing else 0) | (
            qedimg.F_NEED_CHECK)
        self.header(features=features)
        self.find("need-check")

    def cut(self, size):
        """Make the file shorter, or longer."""
        os.ftruncate(self.fd, size)
        self.file_size = size

    # What follows

    def find_leaks(self):
        """State what is leaked: orphans below the last cluster in use, and all behind."""
        size = self.end if self.file_size is None else self.file_size
        used = [self.at[name] + self.length_of(name) for name in self.order
                if name not in self.orphans]
        top = max(used + [self.claimed_end])
        runs = []
        for name in self.order:        # in the order of the file
            start, end = self.at[name], min(self.at[name] + self.length_of(name), top)
            if name not in self.orphans or start >= min(top, size):
                continue
            if runs and runs[-1][1] == start:
                runs[-1][1] = end
            else:
                runs.append([start, end])
        for start, end in runs:
            self.find("leak", offset=start, length=end - start)
        if size > top:
            self.find("leak-tail", offset=top, length=size - top)

    def wanted(self):
        """What has to be found, or None if that is not stated."""
        if not self.usable:
            return Wanted(None, (8, 8, 8))
        if not self.stated:
            return None
        return Wanted(self.findings, self.statuses or self.usual_statuses())

    def usual_statuses(self):
        """Exit statuses of -n, -p, -y where all can be repaired."""
        codes = {finding["code"] for finding in self.findings}
        if not codes:
            return 0, 0, 0
        n = 0 if codes == {"need-check"} else 4
        if not codes - {"need-check", "leak", "leak-tail", "partial-cluster"}:
            return n, 1, 1
        return n, 5 if "partial-cluster" in codes else 4, 1

    def guest(self):
        """What the guest is to see after -y, or None if that is not stated."""
        if not (self.stated and self.guest_stated and self.usable):
            return None
        return images.Guest(self.image_size, self.cluster, {
            cluster: "zero" if content == "zero" else
            self.special.get(cluster) or images.stamps(content, self.cluster)
            for cluster, content in self.content.items()})


def prepare(name, path):
    """Make the image of a recipe: what has to be found, and what the guest is to see."""
    _, geometry, function = RECIPES[name]
    if geometry.backing:
        images.make_backing(os.path.join(os.path.dirname(path), images.BACKING_NAME), geometry)
    with Damage(path, geometry) as dmg:
        function(dmg)
        if dmg.stated and dmg.usable and dmg.statuses is None:
            dmg.find_leaks()
        return dmg.wanted(), dmg.guest()


# ---------------------------------------------------------------------------------------------
# Sound images, and notes
# ---------------------------------------------------------------------------------------------

def dirty(function):
    """The same damage, and NEED_CHECK set."""
    def run(dmg):
        function(dmg)
        dmg.need_check()
    return run


def nothing(dmg):
    """No damage."""


def unknown_bits(dmg):
    """Compatible and autoclear features that nobody knows are no fault."""
    dmg.header(compat_features=1 << 63 | 2, autoclear_features=5)


def hole_inside(dmg):
    """A hole below the last cluster in use is free space, not a leak."""
    dmg.free("f0", data=False)
    dmg.free("f1", data=False)
    dmg.place_data("1.9")
    dmg.map("1.9", dmg.at["1.9"])


def only_zeroes(dmg):
    """A table that maps zero clusters only."""
    dmg.place_table("t2")
    dmg.put_entry(dmg.at["l"], 2, dmg.at["t2"])
    dmg.map("2.0", 1)
    dmg.map("2.n", 1)


def zero_beyond(dmg):
    """A zero cluster beyond the size is no fault."""
    dmg.put_entry(dmg.at["t3"], dmg.entries - 1, 1)
    dmg.put_entry(dmg.at["t3"], 6, 1)


for _geometry in GEOMETRIES:
    recipe("sound", _geometry, "untouched", nothing)
    recipe("sound", _geometry, "need-check", dirty(nothing))
for _geometry in ("4k-1", "4k-2", "64k-4", "header-2", "backing"):
    recipe("sound", _geometry, "unknown-bits", unknown_bits)
    recipe("sound", _geometry, "unknown-bits-dirty", dirty(unknown_bits))
    recipe("sound", _geometry, "hole-inside", hole_inside)
    recipe("sound", _geometry, "only-zeroes", only_zeroes)
    recipe("sound", _geometry, "zero-beyond-size", zero_beyond)


# ---------------------------------------------------------------------------------------------
# One L1 entry
# ---------------------------------------------------------------------------------------------

def index_of(dmg, where):
    """An L1 index by its class."""
    return {"first": 0, "middle": 1, "empty": 2, "last": dmg.last, "beyond": dmg.last + 1,
            "end": dmg.entries - 1}[where]


def l1_value(code, value):
    """An L1 entry with a value that is a fault by itself."""
    return lambda where: lambda dmg: dmg.l1(index_of(dmg, where), value(dmg), code)


def l1_shared(where):
    """Two L1 entries with the same table, which then has a copy."""
    def run(dmg):
        index = index_of(dmg, where)
        if index == 0:
            # entry 1 comes second, and is found
            dmg.lose_table(0)
            first, second, table = 0, 1, "t1"
        else:
            dmg.lose_table(index)
            first, second, table = 0, index, "t0"
        source = int(table[1:])
        dmg.put_entry(dmg.at["l"], index, dmg.at[table])
        for cluster, content in list(dmg.content.items()):
            if cluster // dmg.entries == source:
                start = (index * dmg.entries + cluster % dmg.entries)
                if start * dmg.cluster < dmg.size:
                    dmg.content[start] = content
        if index == 0:
            owner = dmg.seen(0, dmg.span)
        else:
            owner = dmg.seen(first * dmg.span, dmg.span)
        dmg.find("l1-entry-shared", **dmg.l1_about(second, dmg.at[table]),
                 other={"kind": "table", "guest-offset": owner["guest_offset"],
                        "guest-length": owner["guest_length"]})
    return run


def l1_overlap(where):
    """A table that begins in the second cluster of another one: all it maps is another's."""
    def run(dmg):
        index = index_of(dmg, where)
        dmg.lose_table(index)
        value = dmg.at["t0"] + dmg.cluster
        dmg.put_entry(dmg.at["l"], index, value)
        halves = dmg.geo.order == images.TABLES_LAST
        # data follows t0 otherwise, so this is no table, and gets no copy
        dmg.find("l1-entry-shared", **dmg.l1_about(index, value), other=dmg.range_of("t0"))
        if halves and index <= dmg.last:
            # t1 follows: the halves of two tables make one, which gets a copy
            half, start = dmg.entries // 2, index * dmg.entries
            for offset, name in ((half - 1, "0.n"), (half, "1.0"), (half + 5, "1.5"),
                                 (half + 6, "1.6")):
                if (start + offset) * dmg.cluster < dmg.size:
                    dmg.content[start + offset] = dmg.content[dmg.number(name)]
    return run


def l1_over_end(where):
    """A table whose last clusters are not in the file."""
    def run(dmg):
        index = index_of(dmg, where)
        value = dmg.free("f", data=False)
        dmg.claimed_end = value + dmg.table_bytes
        dmg.l1(index, value, "over-end", offset=dmg.end, length=dmg.table_bytes - dmg.cluster)
    return run


L1_FAULTS = {
    "one": l1_value("unaligned", lambda dmg: 1),
    "two": l1_value("unaligned", lambda dmg: 2),
    "plus-512": l1_value("unaligned", lambda dmg: dmg.at["t0"] + 512),
    "half": l1_value("unaligned", lambda dmg: dmg.at["t1"] - dmg.cluster // 2),
    "all-ones": l1_value("unaligned", lambda dmg: TOP - 1),
    "at-end": l1_value("beyond-end", lambda dmg: dmg.end),
    "one-behind-end": l1_value("beyond-end", lambda dmg: dmg.end + dmg.cluster),
    "2-63": l1_value("beyond-end", lambda dmg: 1 << 63),
    "wraps": l1_value("beyond-end", lambda dmg: TOP - dmg.cluster),
    "on-l1": l1_value("on-l1", lambda dmg: dmg.at["l"]),
    "shared": l1_shared,
}
# with more than one cluster per table
L1_LONG_FAULTS = {
    "on-l1-tail": l1_value("on-l1", lambda dmg: dmg.at["l"] + dmg.table_bytes - dmg.cluster),
    "wraps-whole": l1_value("beyond-end", lambda dmg: TOP - dmg.table_bytes),
    "over-end": l1_over_end,
}
L1_HEADER_FAULTS = {
    "in-header": l1_value("in-header", lambda dmg: dmg.cluster),
    "in-header-end": l1_value("in-header", lambda dmg: (dmg.geo.header - 1) * dmg.cluster),
}
# where a table can begin before the L1 table and reach into it
L1_BEFORE_FAULTS = {
    "reaches-l1": l1_value("on-l1", lambda dmg: dmg.at["l"] - dmg.cluster),
}
L1_WHERE = ("first", "middle", "empty", "last", "beyond", "end")


def l1_recipes():
    """Faults by positions: all for one geometry, else each fault at one position."""
    for number, geometry in enumerate(GEOMETRIES):
        geo = GEOMETRIES[geometry]
        faults = dict(L1_FAULTS)
        if geo.table > 1:
            faults.update(L1_LONG_FAULTS)
        if geo.header > 1:
            faults.update(L1_HEADER_FAULTS)
        if geometry in ("l1-last", "l1-middle"):
            faults.update(L1_BEFORE_FAULTS)
        places = [where for where in L1_WHERE if geo.size or where not in ("beyond", "end")]
        if not geo.size:
            # "t1" and "tz" are where the others have "t1" and "t3"
            faults.pop("shared")
        for turn, (name, fault) in enumerate(faults.items()):
            chosen = (places if geometry in ("4k-2", "header-2") else
                      [places[(number + turn) % len(places)]])
            for where in chosen:
                recipe("l1-entry", geometry, "%s-%s" % (name, where), fault(where))


def l1_beyond(index):
    """A table for an L1 entry beyond the size, with data."""
    def run(dmg):
        at = dmg.entries - 1 if index == "end" else dmg.last + 1
        table = dmg.table_beyond(at)
        data = dmg.free("f")
        dmg.use("f")
        dmg.put_entry(table, 7, data)
        dmg.put_entry(table, 8, 1)
    return run


def l1_beyond_bad_data(dmg):
    """A table beyond the size: what is wrong in it is told, too, what is not is not."""
    table = dmg.table_beyond(dmg.last + 1)
    start = (dmg.last + 1) * dmg.span

    def entry(index, value, code, **members):
        dmg.put_entry(table, index, value)
        if code:
            dmg.find("l2-entry-" + code, **dmg.seen(start + index * dmg.cluster, dmg.cluster),
                     table_offset=table, index=index, value=value, **members)

    entry(0, 3, "unaligned")
    entry(1, dmg.end, "beyond-end")
    entry(2, dmg.at["l"], "on-l1")
    entry(3, dmg.at["0.0"], "shared", other=dmg.range_of("0.0"))
    entry(4, 1, None)
    entry(dmg.entries - 1, dmg.at["t0"], "shared", other=dmg.range_of("t0"))


def l1_beyond_twice(dmg):
    """Two entries beyond the size for one table: the second is shared, and is not copied."""
    table = dmg.table_beyond(dmg.last + 1)
    dmg.put_entry(dmg.at["l"], dmg.entries - 1, table)
    dmg.find("l1-entry-shared", **dmg.l1_about(dmg.entries - 1, table), other={"kind": "table"})


def l1_not_a_table(dmg):
    """A shared table that is more illegal than legal is none, for both."""
    dmg.lose_table(1)
    dmg.put_entry(dmg.at["l"], 2, dmg.at["t1"])
    for number in range(20, 24):
        dmg.put_entry(dmg.at["t1"], number, 7)
    for index in (1, 2):
        dmg.find("l1-entry-shared", **dmg.l1_about(index, dmg.at["t1"]),
                 other={"kind": "unknown"})


def l1_just_a_table(dmg):
    """A shared table with as many illegal entries as legal ones gets a copy."""
    dmg.put_entry(dmg.at["l"], 2, dmg.at["t1"])
    dmg.find("l1-entry-shared", **dmg.l1_about(2, dmg.at["t1"]), other=dmg.range_of("t1"))
    for number in range(20, 23):
        dmg.l2("1.%d" % number, 7, "unaligned")
    for name in ("0", "5", "6", "n"):
        content = dmg.content[dmg.number("1." + name)]
        dmg.content[dmg.number("2." + name)] = content


def l1_on_data(dmg):
    """An empty L1 entry that names a cluster of data: the data is not taken for a table."""
    value = dmg.at["1.5"]
    dmg.put_entry(dmg.at["l"], 2, value)
    dmg.find("l1-entry-shared", **dmg.l1_about(2, value), other=dmg.range_of("1.5"))


def l1_names_data(illegal, zeroes, is_none):
    """An empty L1 entry that names data which nothing else refers to, with some entries 1."""
    def run(dmg):
        dmg.place_table("b")
        dmg.at["t2"] = dmg.at["b"]
        dmg.put_entry(dmg.at["l"], 2, dmg.at["b"])
        for number in range(illegal, illegal + zeroes):
            dmg.map("2.%d" % number, 1)
        for number in range(illegal):
            if is_none:
                dmg.map("2.%d" % number, 7)
            else:
                dmg.l2("2.%d" % number, 7, "unaligned")
        if is_none:
            dmg.lose_table(2)
            dmg.orphans.add("b")
            dmg.find("l1-entry-no-table", **dmg.l1_about(2, dmg.at["b"]))
    return run


l1_recipes()
for _geometry in ("4k-1", "4k-2", "64k-4", "1m-1", "header-2", "l1-last", "whole", "backing"):
    recipe("l1-special", _geometry, "beyond-size", l1_beyond("next"))
    recipe("l1-special", _geometry, "beyond-size-end", l1_beyond("end"))
    recipe("l1-special", _geometry, "beyond-size-with-damage", l1_beyond_bad_data)
    recipe("l1-special", _geometry, "beyond-size-twice", l1_beyond_twice)
    recipe("l1-special", _geometry, "no-table", l1_not_a_table)
    recipe("l1-special", _geometry, "just-a-table", l1_just_a_table)
    recipe("l1-special", _geometry, "on-data", l1_on_data)
    recipe("l1-special", _geometry, "names-data", l1_names_data(16, 0, True))
    recipe("l1-special", _geometry, "names-data-with-1", l1_names_data(48, 2, True))
    recipe("l1-special", _geometry, "names-little-data", l1_names_data(15, 0, False))
    recipe("l1-special", _geometry, "names-zeroes", l1_names_data(47, 2, False))
for _where in ("empty", "last", "beyond"):
    recipe("l1-special", "tables-last", "overlap-" + _where, l1_overlap(_where))
    recipe("l1-special", "4k-2", "overlap-" + _where, l1_overlap(_where))


# ---------------------------------------------------------------------------------------------
# One L2 entry
# ---------------------------------------------------------------------------------------------

def l2_value(code, value):
    """An L2 entry with a value that is a fault by itself."""
    return lambda name: lambda dmg: dmg.l2(name, value(dmg), code)


def l2_shared_data(name):
    """Two entries for one cluster of data, the second before or behind this one."""
    def run(dmg):
        other = "1.5" if name[0] == "0" else "0.1"
        if dmg.number(name) * dmg.cluster < dmg.size:
            dmg.share(name, other)
            return
        dmg.put_entry(dmg.table_of(name), dmg.number(name) % dmg.entries, dmg.at[other])
        dmg.find("l2-entry-shared", **dmg.l2_about(name, dmg.at[other]),
                 other=dmg.range_of(other))
    return run


def l2_shared_table(table, part):
    """An entry that names a cluster of a table."""
    def make(name):
        def run(dmg):
            value = dmg.at[table] + (dmg.table_bytes - dmg.cluster if part else 0)
            dmg.guest_stated = False   # the guest sees the table, before it was repaired
            dmg.l2(name, value, "shared", other=dmg.range_of(table))
        return run
    return make


L2_FAULTS = {
    "two": l2_value("unaligned", lambda dmg: 2),
    "plus-1": l2_value("unaligned", lambda dmg: dmg.at["1.5"] + 1),
    "plus-512": l2_value("unaligned", lambda dmg: dmg.at["1.5"] + 512),
    "half": l2_value("unaligned", lambda dmg: dmg.at["1.5"] + dmg.cluster // 2),
    "all-ones": l2_value("unaligned", lambda dmg: TOP - 1),
    "at-end": l2_value("beyond-end", lambda dmg: dmg.end),
    "2-63": l2_value("beyond-end", lambda dmg: 1 << 63),
    "wraps": l2_value("beyond-end", lambda dmg: TOP - dmg.cluster),
    "on-l1": l2_value("on-l1", lambda dmg: dmg.at["l"]),
    "on-l1-tail": l2_value("on-l1", lambda dmg: dmg.at["l"] + dmg.table_bytes - dmg.cluster),
    "shared": l2_shared_data,
    "on-table": l2_shared_table("t0", 0),
    "on-table-tail": l2_shared_table("t1", 1),
}
L2_HEADER_FAULTS = {
    "in-header": l2_value("in-header", lambda dmg: dmg.cluster),
    "in-header-end": l2_value("in-header", lambda dmg: (dmg.geo.header - 1) * dmg.cluster),
}
L2_WHERE = ("0.0", "0.2", "0.10", "0.n", "1.0", "1.5", "1.n", "3.0", "3.5", "3.6", "3.n")
L2_FULL_WHERE = ("0.0", "0.2", "0.n", "1.5", "z.0", "z.n")


def l2_recipes():
    """Faults by positions, as for L1 entries."""
    for number, geometry in enumerate(GEOMETRIES):
        geo = GEOMETRIES[geometry]
        faults = dict(L2_FAULTS)
        if geo.header > 1:
            faults.update(L2_HEADER_FAULTS)
        places = L2_WHERE if geo.size else L2_FULL_WHERE
        for turn, (name, fault) in enumerate(faults.items()):
            chosen = (places if geometry in ("4k-2", "header-2") else
                      [places[(number + 3 * turn) % len(places)]])
            for where in chosen:
                if name in ("half", "plus-1", "plus-512", "shared") and where == "1.5":
                    continue           # these are made of the value that is there
                recipe("l2-entry", geometry, "%s-%s" % (name, where), fault(where))


def l2_beyond(*names):
    """Legal entries beyond the size in a table that is in it in part."""
    def run(dmg):
        for number, name in enumerate(names):
            value = dmg.free("f%d" % number)
            dmg.use("f%d" % number)
            dmg.put_entry(dmg.at["t3"], dmg.number(name) % dmg.entries, value)
            dmg.find("l2-entry-beyond-size", **dmg.l2_about(name, value))
    return run


def l2_three(dmg):
    """Three entries for one cluster: two get copies."""
    dmg.share("1.5", "0.0")
    dmg.share("3.5", "0.0")


def l2_beyond_is_first(dmg):
    """A cluster that is named beyond the size and, later in the file, within: the guest keeps it."""
    value = dmg.at["0.n"]
    table = dmg.table_beyond(dmg.last + 1)
    dmg.put_entry(table, 0, value)
    dmg.find("l2-entry-shared", **dmg.seen((dmg.last + 1) * dmg.span, dmg.cluster),
             table_offset=table, index=0, value=value, other=dmg.range_of("0.n"))


def l2_beyond_twice(dmg):
    """Two entries beyond the size for one cluster: the second one is shared, with no guest range."""
    value = dmg.free("f")
    dmg.use("f")
    dmg.put_entry(dmg.at["t3"], 6, value)
    dmg.put_entry(dmg.at["t3"], 7, value)
    dmg.find("l2-entry-beyond-size", **dmg.l2_about("3.6", value))
    dmg.find("l2-entry-shared", **dmg.l2_about("3.7", value), other={"kind": "data"})


l2_recipes()
for _geometry in ("4k-1", "4k-2", "4k-16", "64k-4", "1m-1", "header-2", "whole", "backing"):
    recipe("l2-special", _geometry, "beyond-size-first", l2_beyond("3.6"))
    recipe("l2-special", _geometry, "beyond-size-end", l2_beyond("3.n"))
    recipe("l2-special", _geometry, "beyond-size-all", l2_beyond("3.6", "3.7", "3.n"))
    recipe("l2-special", _geometry, "three-times", l2_three)
    recipe("l2-special", _geometry, "beyond-size-is-second", l2_beyond_is_first)
    recipe("l2-special", _geometry, "beyond-size-twice", l2_beyond_twice)


# ---------------------------------------------------------------------------------------------
# Header
# ---------------------------------------------------------------------------------------------

def hopeless(code, field, value, **more):
    """A header that cannot be repaired: nothing else is told."""
    def run(dmg):
        wrong = {field: value(dmg) if callable(value) else value}
        dmg.header(**wrong, **more)
        dmg.find(code, field=field, value=wrong[field])
        dmg.statuses = (4, 4, 4)
    return run


def header_field(code, field, value, new, **more):
    """A field that can be repaired; the rest of the image is fine."""
    def run(dmg):
        wrong = value(dmg) if callable(value) else value
        dmg.header(**{field: wrong}, **more)
        dmg.find(code, field=field, value=wrong, new_value=new(dmg) if callable(new) else new)
    return run


def both_sizes(dmg):
    """Cluster size and table size illegal: two findings."""
    dmg.header(cluster_size=5, table_size=17)
    dmg.find("cluster-size-illegal", field="cluster_size", value=5)
    dmg.find("table-size-illegal", field="table_size", value=17)
    dmg.statuses = (4, 4, 4)


def l1_place_lost(dmg):
    """Header size and L1 offset illegal: the table is right behind the smallest header."""
    dmg.header(header_size=0, l1_table_offset=0)
    dmg.find("header-size-illegal", field="header_size", value=0, new_value=1)
    dmg.find("l1-offset-illegal", field="l1_table_offset", value=0, new_value=dmg.cluster)


def no_place(dmg):
    """Nothing looks like an L1 table: not where the header says, and not behind it."""
    dmg.header(l1_table_offset=dmg.end)
    dmg.find("l1-offset-illegal", field="l1_table_offset", value=dmg.end)
    dmg.statuses = (4, 4, 4)


def lost_in_a_name(dmg):
    """The header needs more clusters than there are, by an illegal name: no place is left."""
    dmg.header(header_size=0, features=1, backing_filename_offset=1 << 28,
               backing_filename_size=9)
    dmg.find("header-size-illegal", field="header_size", value=0)
    dmg.statuses = (4, 4, 4)


def l1_elsewhere(code, clusters):
    """The L1 table's offset leads to zeroes: what is right behind the header looks better."""
    def run(dmg):
        for number in range(clusters or dmg.geo.table):
            dmg.free("f%d" % number, data=False)
            dmg.orphans.add("f%d" % number)
        dmg.header(l1_table_offset=dmg.at["f0"])
        dmg.find(code, field="l1_table_offset", value=dmg.at["f0"], new_value=dmg.at["l"])
    return run


def l1_in_data(dmg):
    """The L1 table's offset leads to data."""
    dmg.header(l1_table_offset=dmg.at["1.5"])
    dmg.find("l1-offset-illegal", field="l1_table_offset", value=dmg.at["1.5"],
             new_value=dmg.at["l"])


def l1_in_offsets(dmg):
    """The same, and some of what is there could be offsets of tables, but not most."""
    for number in range(dmg.geo.table):
        dmg.free("f%d" % number)
    for index, value in enumerate([dmg.at["t1"]] * 3 + [512] * 3):
        dmg.put_entry(dmg.at["f0"], index, value)
    dmg.header(l1_table_offset=dmg.at["f0"])
    dmg.find("l1-offset-illegal", field="l1_table_offset", value=dmg.at["f0"],
             new_value=dmg.at["l"])


def l1_empty_elsewhere(dmg):
    """An empty L1 table that is not right behind the header, where there is only data: no fault."""
    dmg.put(dmg.at["l"], bytes(8 * 4))
    dmg.content = {}
    dmg.orphans = set(dmg.order) - {"h", "l"}


def empty_l1(dmg):
    """An image without tables and with nothing behind the L1 table, whose offset is lost."""
    dmg.cut(dmg.at["l"] + dmg.table_bytes)
    dmg.put(dmg.at["l"], bytes(dmg.table_bytes))
    dmg.header(l1_table_offset=512)
    dmg.find("l1-offset-illegal", field="l1_table_offset", value=512, new_value=dmg.at["l"])
    dmg.content = {}
    dmg.orphans = set(dmg.order) - {"h", "l"}
    dmg.end = dmg.at["l"] + dmg.table_bytes


def empty_l1_not_alone(dmg):
    """The same with something behind it: such zeroes do not look like a table."""
    dmg.put(dmg.at["l"], bytes(dmg.table_bytes))
    dmg.header(l1_table_offset=512)
    dmg.find("l1-offset-illegal", field="l1_table_offset", value=512)
    dmg.statuses = (4, 4, 4)


def empty_l1_header_size(dmg):
    """An empty L1 table is trusted if only the size of the header is illegal."""
    dmg.put(dmg.at["l"], bytes(dmg.table_bytes))
    dmg.header(header_size=0)
    dmg.find("header-size-illegal", field="header_size", value=0, new_value=1)
    dmg.content = {}
    dmg.orphans = set(dmg.order) - {"h", "l"}


def size_by_tables(value):
    """A size that says nothing: it becomes the end of what is mapped."""
    def run(dmg):
        wrong = value(dmg) if callable(value) else value
        dmg.header(image_size=wrong)
        end = (dmg.number("3.5") + 1) * dmg.cluster
        dmg.image_size = end
        dmg.find("image-size-illegal", field="image_size", value=wrong, new_value=end)
    return run


def size_rounded(dmg):
    """A size that is no multiple of 512 is rounded up."""
    dmg.header(image_size=dmg.size - 511)
    dmg.find("image-size-illegal", field="image_size", value=dmg.size - 511, new_value=dmg.size)


def size_by_zeroes(dmg):
    """A zero cluster is mapped, too."""
    dmg.map("3.5", 0)
    dmg.map("3.0", 0)
    dmg.orphans |= {"3.5", "3.0"}
    dmg.header(image_size=0)
    dmg.image_size = (dmg.number("3.3") + 1) * dmg.cluster
    dmg.find("image-size-illegal", field="image_size", value=0, new_value=dmg.image_size)


def size_not_by_faults(dmg):
    """An entry with a fault does not count."""
    dmg.header(image_size=0)
    dmg.image_size = (dmg.number("3.3") + 1) * dmg.cluster
    dmg.find("image-size-illegal", field="image_size", value=0, new_value=dmg.image_size)
    dmg.l2("3.5", 2, "unaligned")


def size_of_nothing(dmg):
    """Nothing is mapped: no size can be told."""
    dmg.put(dmg.at["l"], bytes(8 * 4))
    dmg.header(image_size=0)
    dmg.find("image-size-illegal", field="image_size", value=0)
    dmg.statuses = (4, 4, 4)


def bad_backing(offset, size):
    """A name of the backing file that cannot be right."""
    def run(dmg):
        features = qedimg.F_BACKING | qedimg.F_NO_PROBE
        dmg.header(features=features, backing_filename_offset=offset(dmg),
                   backing_filename_size=size)
        dmg.find("backing-name-illegal", field="features", value=features, new_value=0)
    return run


def backing_at_end(dmg):
    """A name that ends with the header is legal."""
    end = dmg.geo.header * dmg.cluster
    dmg.put(end - 8, images.BACKING_NAME.encode())
    dmg.header(features=qedimg.F_BACKING | qedimg.F_NO_PROBE, backing_filename_offset=end - 8,
               backing_filename_size=8)


def not_backing(dmg):
    """Without the feature the name means nothing."""
    dmg.header(backing_filename_offset=0xffffffff, backing_filename_size=0xffffffff)


def backing_needs_header(dmg):
    """The header cannot be smaller than the name needs: "header-5" has five clusters."""
    dmg.header(header_size=0, features=qedimg.F_BACKING | qedimg.F_NO_PROBE,
               backing_filename_offset=3 * dmg.cluster - 4, backing_filename_size=8)
    dmg.find("header-size-illegal", field="header_size", value=0, new_value=4)
    # the fifth cluster is not the header's any more, and nobody's
    dmg.guest_stated = True


def header_recipes():
    """Every field."""
    limit = {4096: 1 << 20, 65536: 1 << 16, M: 1 << 12, 64 * M: 1 << 6}
    for geometry in ("4k-1", "4k-2", "64k-4", "1m-1", "64m-1"):
        cluster = GEOMETRIES[geometry].cluster

        def add(name, function, geometry=geometry):
            recipe("header", geometry, name, function)

        for value in (0, 1, 512, 2048, 4095, 4097, 12288, 3 << 20, 128 * M, 1 << 31, 0xffffffff):
            add("cluster-size-%d" % value, hopeless("cluster-size-illegal", "cluster_size", value))
        for value in (0, 3, 5, 15, 17, 32, 1 << 31, 0xffffffff):
            add("table-size-%d" % value, hopeless("table-size-illegal", "table_size", value))
        add("both-sizes", both_sizes)
        for value in (0, limit[cluster], 0xffffffff):
            add("header-size-%d" % value,
                header_field("header-size-illegal", "header_size", value, 1))
        for name, value in (("0", 0), ("1", 1), ("512", 512), ("half", cluster // 2),
                            ("plus-1", cluster + 1), ("2-62", 1 << 62), ("2-63", 1 << 63),
                            ("wraps", TOP - cluster), ("all-ones", TOP - 1),
                            ("at-end", lambda dmg: dmg.end)):
            add("l1-offset-" + name,
                header_field("l1-offset-illegal", "l1_table_offset", value, cluster))
        add("l1-in-header", header_field("l1-in-header", "header_size", 2, 1))
        add("l1-place-lost", l1_place_lost)
        add("l1-misplaced", l1_elsewhere("l1-misplaced", None))
        if GEOMETRIES[geometry].table > 1:
            add("l1-misplaced-over-end", l1_elsewhere("l1-offset-illegal", 1))
        add("l1-in-data", l1_in_data)
        add("l1-in-offsets", l1_in_offsets)
        add("empty-l1", empty_l1)
        add("empty-l1-not-alone", empty_l1_not_alone)
        add("empty-l1-header-size", empty_l1_header_size)
        for name, value in (("0", 0), ("over-max", lambda dmg: min(
                dmg.entries ** 2 * dmg.cluster, LIMIT - 512) + 512),
                            ("2-63", 1 << 63), ("wraps", TOP - 512), ("all-ones", TOP - 1)):
            add("image-size-" + name, size_by_tables(value))
        add("image-size-rounded", size_rounded)
        add("image-size-by-zeroes", size_by_zeroes)
        add("image-size-not-by-faults", size_not_by_faults)
        add("image-size-of-nothing", size_of_nothing)
        add("backing-over-end", bad_backing(lambda dmg: dmg.geo.header * dmg.cluster - 7, 8))
        add("backing-far", bad_backing(lambda dmg: 0xffffffff, 0xffffffff))
        add("backing-long", bad_backing(lambda dmg: 64, 4096 if cluster > 4096 else 4033))
        add("backing-at-end", backing_at_end)
        add("backing-unused", not_backing)


header_recipes()
recipe("header", "header-2", "l1-in-header", header_field(
    "l1-in-header", "header_size", 3, 1))
recipe("header", "header-2", "l1-in-header-tail", header_field(
    "l1-in-header", "header_size", 4, 1))
recipe("header", "header-2", "header-size-0", header_field(
    "header-size-illegal", "header_size", 0, 1))
recipe("header", "header-2", "l1-offset-0", header_field(
    "l1-offset-illegal", "l1_table_offset", 0, 8 * K))
recipe("header", "header-2", "l1-offset-in-header", header_field(
    "l1-in-header", "l1_table_offset", 4 * K, 8 * K))
recipe("header", "header-5", "backing-needs-header", backing_needs_header)
recipe("header", "4k-2", "lost-in-a-name", lost_in_a_name)
recipe("header", "l1-last", "no-place", no_place)
recipe("header", "l1-last", "header-size-0", header_field(
    "header-size-illegal", "header_size", 0, 1))
recipe("header", "l1-last", "header-over-l1", header_field(
    "l1-in-header", "header_size", 1000, 1))
recipe("header", "l1-middle", "no-place", no_place)
recipe("header", "l1-last", "empty", l1_empty_elsewhere)
recipe("header", "l1-middle", "empty", l1_empty_elsewhere)


# ---------------------------------------------------------------------------------------------
# Space: leaks, and the length of the file
# ---------------------------------------------------------------------------------------------

def unmapped(*names):
    """Data that nothing refers to any more."""
    def run(dmg):
        for name in names:
            dmg.map(name, 0)
            dmg.orphans.add(name)
    return run


def longer(more):
    """The file is longer than it has to be, by a hole."""
    def run(dmg):
        dmg.cut(dmg.end + (more(dmg) if callable(more) else more))
    return run


def tail_data(dmg):
    """QEMU's way to leak: clusters at the end that no table names."""
    dmg.free("f0")
    dmg.free("f1")


def lost_entry(index):
    """An L1 entry became 0: its table is not taken for a leak, as others would be."""
    def run(dmg):
        index_ = dmg.last if index == "last" else index
        dmg.lose_table(index_)
        dmg.put_entry(dmg.at["l"], index_, 0)
        table = "z" if index == "last" else str(index)
        parts = sorted({dmg.number(name) % dmg.entries * 8 // dmg.cluster for name in dmg.orphans
                        if name.split(".")[0] == table})
        runs = []
        for part in parts:
            if runs and sum(runs[-1]) == part:
                runs[-1][1] += 1
            else:
                runs.append([part, 1])
        for first, count in runs:
            dmg.find("orphan-table", offset=dmg.at["t" + table] + first * dmg.cluster,
                     length=count * dmg.cluster)
        dmg.find_leaks()
        dmg.statuses = (4, 4, 4)
    return run


def leak_between(dmg):
    """A leak, a hole, a leak: two findings."""
    for number in range(5):
        dmg.free("f%d" % number, data=number != 2)
    dmg.place_data("1.9")
    dmg.map("1.9", dmg.at["1.9"])


def part_of_tail(dmg):
    """A part of a cluster behind the last one, with data."""
    dmg.put(dmg.end, b"x" * 700)
    dmg.file_size = dmg.end + 700


def partial(keep):
    """The last cluster was cut in part: what is left of the data stays."""
    def run(dmg):
        name = dmg.order[-1]
        left = keep(dmg) if callable(keep) else keep
        start = dmg.end - dmg.cluster
        dmg.cut(start + left)
        dmg.find("partial-cluster", offset=start + left, length=dmg.cluster - left)
        if name[0] in "lt":
            # the end of a table reads as zeroes; only its last entry may have been there
            dmg.guest_stated = False
            return
        # what was cut off reads as zeroes
        cluster = dmg.number(name)
        blocks = images.stamps(cluster, dmg.cluster)
        shown = {}
        for place, block in blocks.items():
            block = block[:max(0, left - place)]
            if block.strip(b"\0"):
                shown[place] = block + bytes(images.BLOCK - len(block))
        dmg.special[cluster] = shown
    return run


def cut_data(dmg):
    """The last cluster was cut off as a whole: the entry is beyond the end."""
    name = dmg.order[-1]
    dmg.cut(dmg.at[name])
    dmg.l2(name, dmg.at[name], "beyond-end")
    dmg.end = dmg.at[name]
    dmg.order.remove(name)


def cut_table(part):
    """The last table, which lies last, was cut off, in whole or but for its first cluster."""
    def run(dmg):
        start = dmg.at["t3"]
        dmg.end = start + (dmg.cluster if part else 0)
        dmg.cut(dmg.end)
        if not part:
            dmg.l1(3, start, "beyond-end")
            dmg.order.remove("t3")
            return
        # the first entries are in what is left
        dmg.claimed_end = start + dmg.table_bytes
        dmg.find("l1-entry-over-end", **dmg.l1_about(3, start), offset=dmg.end,
                 length=dmg.table_bytes - dmg.cluster)
    return run


def cut_l1(part):
    """The L1 table lies last, and its end was cut off."""
    def run(dmg):
        left = dmg.cluster + (100 if part else 0)
        dmg.end = dmg.at["l"] + dmg.table_bytes
        dmg.cut(dmg.at["l"] + (100 if part else dmg.cluster))
        left = dmg.file_size
        dmg.find("l1-over-end", offset=left, length=dmg.end - left)
        dmg.file_size = dmg.end
    return run


for _geometry in ("4k-1", "4k-2", "64k-4", "1m-1", "64m-1", "header-5", "backing"):
    recipe("space", _geometry, "leak-one", unmapped("0.1"))
    recipe("space", _geometry, "leak-run", unmapped("0.1", "0.3"))
    recipe("space", _geometry, "leak-two", unmapped("0.0", "1.0"))
    recipe("space", _geometry, "leak-last", unmapped("3.5"))
    recipe("space", _geometry, "leak-and-tail", unmapped("0.3", "1.n", "3.5"))
    recipe("space", _geometry, "tail-data", tail_data)
    recipe("space", _geometry, "tail-hole", longer(lambda dmg: 3 * dmg.cluster))
    recipe("space", _geometry, "tail-sector", longer(512))
    recipe("space", _geometry, "tail-byte", longer(1))
    recipe("space", _geometry, "tail-part-data", part_of_tail)
    recipe("space", _geometry, "leak-hole-leak", leak_between)
    recipe("space", _geometry, "lost-l1-entry", lost_entry(0))
    recipe("space", _geometry, "lost-last-l1-entry", lost_entry(3))
    recipe("space", _geometry, "dirty-leak", dirty(unmapped("1.0")))
    recipe("space", _geometry, "partial-byte", partial(1))
    recipe("space", _geometry, "partial-sector", partial(512))
    recipe("space", _geometry, "partial-most", partial(lambda dmg: dmg.cluster - 1))
    recipe("space", _geometry, "dirty-partial", dirty(partial(3 * 512)))
    recipe("space", _geometry, "cut-data", cut_data)
    recipe("space", _geometry, "dirty-cut-data", dirty(cut_data))
for _geometry in ("4k-2", "64k-4"):
    recipe("space", _geometry, "tail-gib", longer(1 << 30))
recipe("space", "tables-last", "cut-table", cut_table(False))
recipe("space", "tables-last", "cut-table-part", cut_table(True))
recipe("space", "tables-last", "partial-table", partial(4096 - 512))
recipe("space", "l1-last", "partial-l1", partial(512))
recipe("space", "l1-last", "cut-l1", cut_l1(False))
recipe("space", "l1-last", "cut-l1-part", cut_l1(True))


# ---------------------------------------------------------------------------------------------
# Pairs
# ---------------------------------------------------------------------------------------------

def both(*functions):
    """One fault and another."""
    def run(dmg):
        for function in functions:
            function(dmg)
    return run


def fault(kind, name, where):
    """A fault of the tables above at a place."""
    return (L1_FAULTS if kind == "l1" else L2_FAULTS)[name](where)


PAIR_PARTS = {
    "size": lambda dmg: size_rounded(dmg),
    "header": header_field("header-size-illegal", "header_size", 0, 1),
    "backing": bad_backing(lambda dmg: 0x10000000, 9),
    "l1-unaligned": fault("l1", "two", "first"),
    "l1-far": fault("l1", "2-63", "empty"),
    "l2-unaligned": fault("l2", "two", "1.0"),
    "l2-end": fault("l2", "wraps", "1.n"),
    "l2-on-l1": fault("l2", "on-l1", "3.0"),
    "l2-shared": lambda dmg: dmg.share("3.5", "1.5"),
    "leak": lambda dmg: dmg.free("f0"),
    "need-check": lambda dmg: dmg.need_check(),
}


def pair_recipes():
    """Two faults that have nothing to do with each other: all that is found is in both."""
    names = list(PAIR_PARTS)
    for number, first in enumerate(names):
        for second in names[number + 1:]:
            if "backing" in (first, second) and {"header", "need-check"} & {first, second}:
                continue               # they meddle with each other
            for geometry in ("4k-2", "64k-4"):
                recipe("pair", geometry, first + "+" + second,
                       both(PAIR_PARTS[first], PAIR_PARTS[second]))


def shared_both_ways(dmg):
    """Each of two entries has the other's data: that is no fault, only odd."""
    zero, one = dmg.at["0.0"], dmg.at["1.0"]
    dmg.map("0.0", one)
    dmg.map("1.0", zero)
    dmg.content[dmg.number("0.0")] = dmg.number("1.0")
    dmg.content[dmg.number("1.0")] = dmg.number("0.0")


def shared_table_and_data(dmg):
    """A shared table, and a cluster of its data shared in the table that has it first."""
    dmg.put_entry(dmg.at["l"], 2, dmg.at["t0"])
    dmg.find("l1-entry-shared", **dmg.l1_about(2, dmg.at["t0"]), other=dmg.range_of("t0"))
    dmg.share("1.5", "0.3")
    for name in ("0", "1", "2", "3", "n"):
        dmg.content[dmg.number("2." + name)] = dmg.content[dmg.number("0." + name)]


def shared_table_with_fault(dmg):
    """A shared table with one entry that is a fault: told once, and 0 in both."""
    dmg.l2("0.1", 6, "unaligned")
    dmg.put_entry(dmg.at["l"], 2, dmg.at["t0"])
    dmg.find("l1-entry-shared", **dmg.l1_about(2, dmg.at["t0"]), other=dmg.range_of("t0"))
    for name in ("0", "2", "3", "n"):
        dmg.content[dmg.number("2." + name)] = dmg.content[dmg.number("0." + name)]


def shared_table_in_part(dmg):
    """The last L1 entry names the first table: what is beyond the size is not copied."""
    l1_shared("last")(dmg)


def beyond_and_within(dmg):
    """A table beyond the size that is that of an entry within: the entry is set to 0."""
    dmg.put_entry(dmg.at["l"], dmg.last + 1, dmg.at["t1"])
    dmg.find("l1-entry-shared", **dmg.l1_about(dmg.last + 1, dmg.at["t1"]),
             other=dmg.range_of("t1"))


pair_recipes()
for _geometry in ("4k-1", "4k-2", "64k-4", "1m-1", "backing"):
    recipe("pair", _geometry, "exchanged", shared_both_ways)
    recipe("pair", _geometry, "shared-table+shared-data", shared_table_and_data)
    recipe("pair", _geometry, "shared-table+fault", shared_table_with_fault)
    recipe("pair", _geometry, "shared-table-in-part", shared_table_in_part)
    recipe("pair", _geometry, "shared-table-beyond-size", beyond_and_within)


# ---------------------------------------------------------------------------------------------
# What QEMU does to images
# ---------------------------------------------------------------------------------------------

def one_entry_too_many(target):
    """A large request on small clusters links one L2 entry more than it has clusters.

    QEMU's conversion of bytes to clusters divides by one less than a cluster's size.  The entry
    behind the request gets the cluster behind the allocated ones, which is behind the end of the
    file, or was handed out to the next request as well.
    """
    def run(dmg):
        neighbour = "0.4"
        if target == "end":
            dmg.l2(neighbour, dmg.end, "beyond-end")
        else:
            dmg.share(neighbour, target)
    return run


def neighbour_lost(dmg):
    """The same where the neighbour had data: its cluster is leaked besides."""
    dmg.l2("0.1", dmg.end, "beyond-end")


def cleared_on_corrupt(dmg):
    """QEMU clears NEED_CHECK when it closes an image, corrupt or not."""
    dmg.share("0.3", "0.1")
    dmg.header(features=0)


def reused_at_end(dmg):
    """A power cut took the end of the file, the bit was lost, and the clusters were handed out
    again: old entries and new ones name the same clusters."""
    dmg.place_data("1.7")
    dmg.map("1.7", dmg.at["1.7"])
    dmg.share("0.20", "1.7")
    dmg.share("3.0", "1.7")
    # of the first of the three all others are second references
    dmg.findings = []
    value = dmg.at["1.7"]
    for name in ("1.7", "3.0"):
        dmg.find("l2-entry-shared", **dmg.l2_about(name, value), other=dmg.range_of("0.20"))


def table_reused_at_end(dmg):
    """The same, and the new owner is a table: the data is what was second."""
    dmg.place_table("t2")
    dmg.put_entry(dmg.at["l"], 2, dmg.at["t2"])
    dmg.map("2.0", 1)
    dmg.guest_stated = False
    dmg.l2("0.20", dmg.at["t2"], "shared", other=dmg.range_of("t2"))


def tail_cut_off(dmg):
    """A file that is not a multiple of the cluster, as copying tools leave it: QEMU's repair
    would throw the last cluster away."""
    partial(1536)(dmg)
    dmg.need_check()


def failed_allocation(dmg):
    """An allocation failed after the table was written: the table and its data are leaked."""
    dmg.place_table("t2")
    dmg.free("f0")
    dmg.orphans.add("t2")


def table_not_written(dmg):
    """The L1 sector got to the disk, the table did not: it is behind the end of the file."""
    dmg.l1(2, dmg.end, "beyond-end")
    dmg.need_check()


def two_entries_past_end(dmg):
    """The L2 sector got to the disk, the data did not."""
    dmg.l2("0.20", dmg.end, "beyond-end")
    dmg.l2("0.21", dmg.end + dmg.cluster, "beyond-end")
    dmg.need_check()


def torn_table(dmg):
    """Half of a table's sector is an older one: entries are missing, their data is leaked."""
    unmapped("0.1", "0.3")(dmg)
    dmg.need_check()


for _geometry in ("4k-2", "4k-16", "64k-4", "l1-middle"):
    recipe("qemu", _geometry, "one-entry-too-many-end", one_entry_too_many("end"))
    recipe("qemu", _geometry, "one-entry-too-many-reused", one_entry_too_many("1.5"))
    recipe("qemu", _geometry, "neighbour-lost", neighbour_lost)
    recipe("qemu", _geometry, "cleared-on-corrupt", cleared_on_corrupt)
    recipe("qemu", _geometry, "reused-at-end", reused_at_end)
    recipe("qemu", _geometry, "table-reused-at-end", table_reused_at_end)
    recipe("qemu", _geometry, "tail-cut-off", tail_cut_off)
    recipe("qemu", _geometry, "failed-allocation", failed_allocation)
    recipe("qemu", _geometry, "table-not-written", table_not_written)
    recipe("qemu", _geometry, "two-entries-past-end", two_entries_past_end)
    recipe("qemu", _geometry, "torn-table", torn_table)


# ---------------------------------------------------------------------------------------------
# What is no image, or claims too much
# ---------------------------------------------------------------------------------------------

def unusable(function):
    """qed-fsck does not look at it: exit status 8."""
    def run(dmg):
        function(dmg)
        dmg.usable = False
    return run


def only_header(size, **fields):
    """A file of a few bytes that claims to be large."""
    def run(dmg):
        dmg.header(**fields)
        dmg.cut(size)
        dmg.stated = False
    return run


def huge_file(dmg):
    """A sparse file of 4 TiB with nothing more in it."""
    dmg.cut(1 << 42)


for _name, _function in (
        ("magic-0", lambda dmg: dmg.header(magic=0)),
        ("magic-qcow2", lambda dmg: dmg.put(0, b"QFI\xfb")),
        ("magic-last-byte", lambda dmg: dmg.put(3, b"\1")),
        ("feature-3", lambda dmg: dmg.header(features=8)),
        ("feature-63", lambda dmg: dmg.header(features=1 << 63)),
        ("features-all", lambda dmg: dmg.header(features=TOP - 1)),
        ("empty-file", lambda dmg: dmg.cut(0)),
        ("4-bytes", lambda dmg: dmg.cut(4)),
        ("63-bytes", lambda dmg: dmg.cut(63))):
    recipe("extreme", "4k-2", _name, unusable(_function))
for _geometry in ("4k-1", "64k-4", "64m-1"):
    recipe("extreme", _geometry, "64-bytes", only_header(64))
    recipe("extreme", _geometry, "64-bytes-huge", only_header(
        64, image_size=LIMIT - 512, cluster_size=64 * M, table_size=16))
    recipe("extreme", _geometry, "64-bytes-huge-header", only_header(64, header_size=63))
    recipe("extreme", _geometry, "512-bytes", only_header(512))
    recipe("extreme", _geometry, "4-tib", huge_file)


# ---------------------------------------------------------------------------------------------
# Random bytes
# ---------------------------------------------------------------------------------------------

def random_bytes(seed, region):
    """Spoil a few bytes of the header or of tables."""
    def run(dmg):
        rng = random.Random(seed)
        dmg.stated = False
        tables = [name for name in dmg.order if name[0] in "lt"]
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            if region == "header" or (region == "both" and rng.random() < 0.3):
                offset = rng.randrange(4, 64)
            else:
                index = rng.choice((0, 1, 2, 3, 5, 6, dmg.entries - 1,
                                    rng.randrange(dmg.entries)))
                offset = dmg.at[rng.choice(tables)] + 8 * index + rng.randrange(8)
            old = os.pread(dmg.fd, 1, offset)[0]
            dmg.put(offset, bytes([old ^ 1 << rng.randrange(8)]))
    return run


for _seed in range(24):
    recipe("random", ("4k-1", "4k-2", "header-2", "l1-middle", "backing", "full")[_seed % 6],
           "header-%d" % _seed, random_bytes(_seed, "header"))
for _seed in range(60):
    recipe("random", ("4k-1", "4k-2", "4k-16", "64k-4", "header-2", "l1-middle", "backing",
                      "full", "1m-1", "tables-last")[_seed % 10],
           "tables-%d" % _seed, random_bytes(_seed, "tables"))
for _seed in range(24):
    recipe("random", ("4k-1", "4k-2", "header-5", "l1-last", "backing-64k", "whole")[_seed % 6],
           "both-%d" % _seed, random_bytes(_seed, "both"))


# ---------------------------------------------------------------------------------------------
# The record
# ---------------------------------------------------------------------------------------------

def recorded(function, less=0, **fields):
    """A record beside other damage; its end is that of the file, or less clusters before."""
    def run(dmg):
        function(dmg)
        dmg.put(qedimg.RECORD_OFFSET,
                qedimg.pack_record(**{"end": dmg.end // dmg.cluster - less, **fields}))
        dmg.header(autoclear_features=qedimg.AF_RECORD | 5)
        dmg.stated = False
    return run


def unaligned(dmg):
    """An entry that is cleared."""
    dmg.put_entry(dmg.table_of("1.5"), 5, 4711)


def twice(dmg):
    """An entry that needs a copy, and a table that does."""
    dmg.put_entry(dmg.table_of("1.5"), 5, dmg.at["0.0"])
    dmg.put_entry(dmg.at["l"], 2, dmg.at["t0"])


for _geometry in ("4k-1", "4k-16", "header-5", "tables-last", "backing"):
    for _name, _function in (("alone", nothing), ("unaligned", unaligned), ("twice", twice),
                             ("hole-inside", hole_inside)):
        recipe("record", _geometry, "true-" + _name, recorded(_function))
        recipe("record", _geometry, "true-far-" + _name, recorded(_function, -3000))
        recipe("record", _geometry, "untrue-" + _name, recorded(_function, 1))
        recipe("record", _geometry, "void-" + _name, recorded(_function, flags=1))
        recipe("record", _geometry, "active-" + _name, recorded(_function, flags=1, end=0))
        recipe("record", _geometry, "dirty-" + _name, recorded(dirty(_function), end=0))
        recipe("record", _geometry, "dirty-void-" + _name, recorded(dirty(_function)))
