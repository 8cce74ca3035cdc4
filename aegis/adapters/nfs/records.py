"""The gateway's audit records as events of an execution: what the agent's files went through, for the timeline.

Reads and writes arrive already drawn together into spans; operations that changed a name or were refused come one by
one. Undecodable bytes in names are shown as `\\xNN`, because events are JSON.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aegis.domain.events import Event
from aegis.domain.volume import Attachment
from nfsd.vfs import records


def file_events(attachment: Attachment, batch: Sequence[records.Record]) -> list[Event]:
    """One event for each record, in order. `at` of the records is seconds since 1970."""
    return [_event(attachment, record) for record in batch]


def _event(attachment: Attachment, record: records.Record) -> Event:
    data: dict[str, Any] = {"volume_id": attachment.volume_id, "path": seen_at(attachment, record.path)}
    if isinstance(record, records.Span):
        data |= {"operations": record.operations, "bytes": record.bytes, "offset": record.offset_min}
        kind = f"file.{record.operation}"
    elif record.result:
        data |= {"operation": record.operation, "error": errno.errorcode.get(record.result, str(record.result))}
        kind = "file.denied" if record.result in (errno.EACCES, errno.EPERM, errno.EROFS) else "file.failed"
    else:
        kind = f"file.{record.operation}"
    if record.nanoseconds:
        data["milliseconds"] = round(record.nanoseconds / 1e6, 3)
    if isinstance(record, records.Event) and record.to_path is not None:
        if record.operation == "symlink":  # its text, which may lead anywhere in the container
            data["target"] = record.to_path.decode("utf-8", "backslashreplace")
        else:
            data["to_path"] = seen_at(attachment, record.to_path)
    return Event(
        kind=kind,
        at=datetime.fromtimestamp(record.at, UTC),
        execution_id=attachment.execution_id,
        data=data,
    )


def seen_at(attachment: Attachment, path: bytes) -> str:
    """A path of the volume as the container names it."""
    inner = path.decode("utf-8", "backslashreplace")
    return f"{attachment.mount_path.rstrip('/')}/{inner}" if inner else attachment.mount_path
