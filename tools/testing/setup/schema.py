# SPDX-License-Identifier: GPL-2.0-only
"""What qedsetup prints with --json: its members, which stay as they are.

A type is one of Python's, a list of one type, a dictionary of members, or a tuple of those that
are possible. A member whose name ends with "?" may be missing. Others than these are none.
"""

SCHEMA = 1

NUMBER = int
NAME = str

RECORD = ({"valid": bool, "defect": str},
          {"valid": bool, "host": str, "owner": str, "active": bool, "end": NUMBER,
           "zero-from": NUMBER, "zero-end": NUMBER, "device-size": NUMBER})

IMAGE = ({"filename": NAME, "format": str, "file-size": NUMBER},
         {"filename": NAME, "format": str, "file-size": NUMBER, "image-size": NUMBER,
          "cluster-size": NUMBER, "table-size": NUMBER, "l1-table-offset": NUMBER,
          "need-check": bool, "backing-filename?": NAME, "full-backing-filename?": NAME,
          "backing-filename-format?": str, "record": (None,) + RECORD})

PROGRESS = {"done": NUMBER, "total": NUMBER}
DEVICE = {"path": NAME, "device": str, "file": bool, "direct-io?": bool}
KNOWN = (None, NUMBER)

VERBS = {
    "create": {"schema": NUMBER, "filename": NAME, "image-size": NUMBER,
               "cluster-size": NUMBER, "table-size": NUMBER, "backing-filename?": NAME},
    "info": {"schema": NUMBER, "in-use-by": (None, str), "images": [IMAGE]},
    "map": {"schema": NUMBER, "filename": NAME, "image-size": NUMBER,
            "extents": [{"start": NUMBER, "length": NUMBER, "depth": NUMBER, "present": bool,
                         "zero": bool, "data": bool, "offset?": NUMBER}],
            "error?": str, "exit-status?": NUMBER},
    "measure": {"schema": NUMBER, "required": NUMBER, "fully-allocated": NUMBER,
                "cluster-size": NUMBER, "table-size": NUMBER},
    "open": {"schema": NUMBER, "name": NAME, "path": NAME, "image": NAME},
    "close": {"schema": NUMBER, "name": NAME, "deferred": bool, "file-size?": NUMBER},
    "list": {"schema": NUMBER, "devices": [
        {"name": NAME, "path": NAME, "uuid": str, "image": NAME, "below": [NAME],
         "size": NUMBER, "used": KNOWN, "mode": str, "open-count": NUMBER}]},
    "status": {"schema": NUMBER, "name": NAME, "path": NAME, "active": bool, "uuid": str,
               "profile": str, "open-count": NUMBER, "suspended": bool, "read-only": bool,
               "deferred-remove": bool, "size": NUMBER, "image": DEVICE,
               "below": [dict(DEVICE, format=str)], "options": str, "mode": str, "needs-check": bool,
               "cluster-size": NUMBER, "used-clusters": KNOWN, "total-clusters": KNOWN,
               "mapped-clusters": KNOWN, "virtual-clusters": KNOWN, "free-clusters": KNOWN,
               "zeroed-clusters": KNOWN, "reclaiming-clusters": KNOWN,
               "zeroed-ahead-clusters": NUMBER, "cached-bytes": NUMBER, "cache-limit": NUMBER,
               "dirty-blocks": NUMBER, "allocations": NUMBER, "commits": NUMBER,
               "queued": NUMBER, "scan": (None, PROGRESS), "trim": (None, PROGRESS),
               "check": (None, PROGRESS, {"leaks": NUMBER, "defects": NUMBER}),
               "copied-clusters?": NUMBER, "reads-below?": NUMBER},
    "resize": {"schema": NUMBER, "name": NAME, "size": NUMBER},
    "grow": {"schema": NUMBER, "name": NAME, "total-clusters": NUMBER},
    "trim": {"schema": NUMBER, "name": NAME},
    "check": {"schema": NUMBER, "name": NAME, "leaks?": NUMBER, "defects?": NUMBER},
    "rebase": {"schema": NUMBER, "filename": NAME, "backing-filename?": NAME},
    "snapshot": {"schema": NUMBER, "disks": [{"name": NAME, "image": NAME}], "paused-us": NUMBER},
    "error": {"schema": NUMBER, "verb?": str, "error": str, "exit-status": NUMBER},
}


def check_members(value, members, where):
    """A dictionary"""
    if not isinstance(value, dict):
        raise ValueError("%s is no object: %r" % (where, value))
    names = {name.rstrip("?") for name in members}
    for name in value:
        if name not in names:
            raise ValueError("%s has an unknown member %s" % (where, name))
    for name, kind in members.items():
        if name.endswith("?") and name[:-1] not in value:
            continue
        name = name.rstrip("?")
        if name not in value:
            raise ValueError("%s lacks %s" % (where, name))
        check(value[name], kind, "%s.%s" % (where, name))


def check(value, kind, where):
    """Raise ValueError if a value is not of a type"""
    if isinstance(kind, tuple):
        errors = []
        for one in kind:
            try:
                return check(value, one, where)
            except ValueError as error:
                errors.append(str(error))
        raise ValueError("; ".join(errors))
    if isinstance(kind, dict):
        return check_members(value, kind, where)
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise ValueError("%s is no array" % where)
        for number, one in enumerate(value):
            check(one, kind[0], "%s[%d]" % (where, number))
        return None
    if kind is None:
        if value is not None:
            raise ValueError("%s is not null" % where)
        return None
    # to Python a truth value is a number
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError("%s is %r, no %s" % (where, value, kind.__name__))
    return None


def check_output(verb, document):
    """What a verb has printed, or "error" """
    check(document, VERBS[verb], verb)
    if document["schema"] != SCHEMA:
        raise ValueError("schema is %d" % document["schema"])


def main():
    """schema.py VERB <JSON: for other tests"""
    import json
    import sys
    check_output(sys.argv[1], json.load(sys.stdin))


if __name__ == "__main__":
    main()
