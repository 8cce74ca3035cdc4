"""How a file's attributes go out: with the volume's fsid, the owner its identity layer wants shown, and, for weak cache
consistency (RFC 1813 section 2.6), as they were before and after the operation.

What may be claimed as `before`: a client that finds its cached times in it keeps its cache although the file has
changed, because it was its own change. So `before` and `after` must have nothing but the operation between them.

- A call that is done in one turn of the loop reads both in that turn: nobody else of ours can come between.
- A call that comes back later has, as a rule, made its change already and waits for the disk: then both were read in
  its own turn too, and are sent when the wait is over.
- Only where nothing was visible in that turn is `after` read at the end, and `before` is left out if it differs.

The rule: nothing that is read *after* an operation may fail the call. The operation is done; an attribute that cannot
be had any more is left out of the reply, which the RFC allows everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nfsd.exports import Export
from nfsd.nfs3.results import NO_ATTR, NO_WCC, pack_post_op_attr, pack_wcc
from nfsd.vfs.interface import Attributes, Later, Node

T = TypeVar("T")
R = TypeVar("R")


def shown_owner(export: Export, attributes: Attributes) -> tuple[int, int]:
    """The uid and gid a client sees."""
    uid, gid = export.shown_uid, export.shown_gid
    return attributes.st_uid if uid is None else uid, attributes.st_gid if gid is None else gid


def post_op_attr(export: Export, attributes: Attributes | None) -> bytes:
    if attributes is None:
        return NO_ATTR
    uid, gid = export.shown_uid, export.shown_gid
    return pack_post_op_attr(
        attributes,
        attributes.st_uid if uid is None else uid,
        attributes.st_gid if gid is None else gid,
        export.fsid,
    )


def wcc_data(export: Export, before: Attributes | None, after: Attributes | None) -> bytes:
    if after is None:
        return NO_WCC
    uid, gid = export.shown_uid, export.shown_gid
    return pack_wcc(
        before,
        after,
        after.st_uid if uid is None else uid,
        after.st_gid if gid is None else gid,
        export.fsid,
    )


def after(export: Export, node: Node) -> Attributes | None:
    """A node's attributes behind an operation that is done; None when it is gone."""
    try:
        return export.after(node)
    except OSError:
        return None


def post_op_attr_of(export: Export, node: Node) -> bytes:
    return post_op_attr(export, after(export, node))


def wcc_of(export: Export, node: Node, before: Attributes | None) -> bytes:
    """wcc_data of a node whose operation ended in this very turn; `before` was read in it too."""
    try:
        now = export.after(node)
    except OSError:
        return NO_WCC
    return wcc_data(export, before, now)


def wcc_later(export: Export, node: Node, before: Attributes) -> Callable[[], bytes]:
    """wcc_data of a node whose operation has come back `Later` just now: call the result when it is done."""
    now = after(export, node)
    if now is not None and _differ(before, now):
        known = wcc_data(export, before, now)
        return lambda: known

    def at_the_end() -> bytes:
        end = after(export, node)
        undisturbed = end is not None and not _differ(before, end)
        return wcc_data(export, before if undisturbed else None, end)

    return at_the_end


def _differ(one: Attributes, other: Attributes) -> bool:
    """Whether a client could tell the two apart by wcc_attr: size, mtime, ctime."""
    return one.st_ctime_ns != other.st_ctime_ns or one.st_mtime_ns != other.st_mtime_ns or one.st_size != other.st_size


def with_wcc(
    export: Export, node: Node, before: Attributes, result: T | Later[T], encode: Callable[[bytes, T], R]
) -> R | Later[R]:
    """`encode(wcc_data of node, result)`, now or when the result is there."""
    if isinstance(result, Later):
        wcc = wcc_later(export, node, before)
        return result.then(lambda value: encode(wcc(), value))
    return encode(wcc_of(export, node, before), result)
