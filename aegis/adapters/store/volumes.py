"""Volumes and their attachments.

The rule to know: a volume's row is locked before its attachments are counted or added (PostgreSQL by FOR UPDATE, SQLite
by its one writer), so attach, detach and delete of one volume happen one after the other, in whatever processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from aegis.adapters.store.rows import attachment_of, attachment_values, volume_of, volume_values
from aegis.adapters.store.tables import attachments, volumes
from aegis.domain.manifest import AccessMode
from aegis.domain.transitions import InvalidTransition
from aegis.domain.volume import Attachment, Volume, VolumeEvent, VolumeState
from aegis.errors import Conflict, NotFound, VolumeAlreadyMounted


async def add(connection: AsyncConnection, volume: Volume) -> None:
    await connection.execute(insert(volumes).values(volume_values(volume)))


async def get(connection: AsyncConnection, tenant_id: str, volume_id: str) -> Volume:
    rows = await connection.execute(select(volumes).where(volumes.c.tenant_id == tenant_id, volumes.c.id == volume_id))
    row = rows.first()
    if row is None:
        raise _unknown(volume_id)
    return volume_of(row)


async def newest(
    connection: AsyncConnection,
    tenant_id: str | None,
    states: Sequence[VolumeState],
    owner_execution_id: str | None,
    limit: int,
) -> list[Volume]:
    query = select(volumes).order_by(volumes.c.created_at.desc(), volumes.c.id).limit(limit)
    if tenant_id is not None:
        query = query.where(volumes.c.tenant_id == tenant_id)
    if states:
        query = query.where(volumes.c.state.in_([state.value for state in states]))
    if owner_execution_id is not None:
        query = query.where(volumes.c.owner_execution_id == owner_execution_id)
    return [volume_of(row) for row in await connection.execute(query)]


async def replace(connection: AsyncConnection, volume: Volume, expect: VolumeState) -> None:
    changed = await connection.execute(
        update(volumes).where(volumes.c.id == volume.id, volumes.c.state == expect.value).values(volume_values(volume))
    )
    if changed.rowcount == 0:
        found = await get(connection, volume.tenant_id, volume.id)
        raise Conflict(f"Volume {found.name} ({found.id}) is {found.state.value}, not {expect.value}")


async def add_attachment(connection: AsyncConnection, attachment: Attachment) -> None:
    volume = await _locked(connection, attachment.volume_id)
    try:
        attached = volume.after(VolumeEvent.ATTACH)
    except InvalidTransition:
        raise Conflict(f"Volume {volume.name} ({volume.id}) is {volume.state.value} and cannot be attached") from None
    if attachment.access_mode is AccessMode.READ_WRITE:
        await _refuse_second_writer(connection, volume)
    try:
        async with connection.begin_nested():
            await connection.execute(insert(attachments).values(attachment_values(attachment)))
    except IntegrityError as error:
        await _refuse_second_writer(connection, volume)
        raise Conflict(f"Attachment {attachment.id} exists already") from error
    await _set_state(connection, attached)


async def end_attachment(connection: AsyncConnection, attachment_id: str, at: datetime) -> bool:
    """Whether it ended now, and not before."""
    row = (await connection.execute(select(attachments).where(attachments.c.id == attachment_id))).first()
    if row is None:
        raise NotFound(f"There is no attachment {attachment_id}")
    volume = await _locked(connection, row.volume_id)
    ended = await connection.execute(
        update(attachments)
        .where(attachments.c.id == attachment_id, attachments.c.detached_at.is_(None))
        .values(detached_at=at)
    )
    if ended.rowcount == 0:
        return False
    if volume.state is VolumeState.ATTACHED and not await _live_count(connection, volume.id):
        await _set_state(connection, volume.after(VolumeEvent.DETACH))
    return True


async def list_attachments(
    connection: AsyncConnection, execution_id: str | None, volume_id: str | None, live_only: bool
) -> list[Attachment]:
    query = select(attachments).order_by(attachments.c.created_at.desc(), attachments.c.id).limit(1000)
    if execution_id is not None:
        query = query.where(attachments.c.execution_id == execution_id)
    if volume_id is not None:
        query = query.where(attachments.c.volume_id == volume_id)
    if live_only:
        query = query.where(attachments.c.detached_at.is_(None))
    return [attachment_of(row) for row in await connection.execute(query)]


async def _locked(connection: AsyncConnection, volume_id: str) -> Volume:
    row = (await connection.execute(select(volumes).where(volumes.c.id == volume_id).with_for_update())).first()
    if row is None:
        raise _unknown(volume_id)
    return volume_of(row)


async def _set_state(connection: AsyncConnection, volume: Volume) -> None:
    await connection.execute(update(volumes).where(volumes.c.id == volume.id).values(state=volume.state.value))


def _live(volume_id: str) -> ColumnElement[bool]:
    return (attachments.c.volume_id == volume_id) & attachments.c.detached_at.is_(None)


async def _live_count(connection: AsyncConnection, volume_id: str) -> int:
    counted = await connection.execute(select(func.count()).select_from(attachments).where(_live(volume_id)))
    return int(counted.scalar_one())


async def _refuse_second_writer(connection: AsyncConnection, volume: Volume) -> None:
    writer = (
        await connection.execute(
            select(attachments.c.execution_id).where(
                _live(volume.id), attachments.c.access_mode == AccessMode.READ_WRITE.value
            )
        )
    ).first()
    if writer is not None:
        raise VolumeAlreadyMounted(
            f"Volume {volume.name} ({volume.id}) is mounted read-write by execution {writer.execution_id}",
            next_step="Wait for it, cancel it, or mount the volume read-only (`access_mode: read-only`)",
        )


def _unknown(volume_id: str) -> NotFound:
    return NotFound(f"There is no volume {volume_id}", next_step="`aegis volume list` shows those there are")
