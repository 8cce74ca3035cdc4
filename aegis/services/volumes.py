"""Volumes: made, attached, detached, deleted; and what one execution holds of them.

The rules to know:
- An attachment is one execution's hold on one volume, from its first iteration to its end: the gap between two
  iterations' containers must not let another writer in. The containers' Docker volumes come and go under it.
- Order outwards: stored, then exported. Order back: no longer exported, then stored as ended. So nobody ever reaches a
  volume that the database does not know to be attached, and a crash between the two is finished by `release`.
- `release` reads what to undo from the store and may be repeated: it is what the supervisor, and after a crash the
  reconciler, both call.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from aegis.domain.events import Event
from aegis.domain.execution import Execution
from aegis.domain.manifest import AccessMode, AgentManifest, StorageClass, VolumeSpec
from aegis.domain.policy import mount_rules
from aegis.domain.transitions import InvalidTransition
from aegis.domain.volume import Attachment, Volume, VolumeEvent, VolumeState
from aegis.errors import AegisError, Conflict, NotFound
from aegis.ids import new_id
from aegis.ports import Clock, EventSink, FileRules, Gateway, Store

logger = logging.getLogger(__name__)

LIVE_STATES = tuple(state for state in VolumeState if state is not VolumeState.DELETED)
DEFAULT_DIRECTORY = "/workspace"


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """One volume of an execution: where its containers see it, by which attachment, and the path they mount."""

    spec: VolumeSpec
    volume: Volume
    attachment: Attachment
    export_path: str


def working_directory(mounted: Iterable[MountedVolume]) -> str:
    """Where commands run unless they say otherwise: `/workspace` when it is mounted, else the first mount, else `/`."""
    paths = [each.spec.mount_path for each in mounted]
    if DEFAULT_DIRECTORY in paths:
        return DEFAULT_DIRECTORY
    return paths[0] if paths else "/"


class VolumeService:
    def __init__(self, store: Store, gateway: Gateway, events: EventSink, clock: Clock) -> None:
        self._store = store
        self._gateway = gateway
        self._events = events
        self._clock = clock

    async def create(
        self,
        tenant_id: str,
        name: str,
        *,
        storage_class: StorageClass,
        size_limit_bytes: int | None = None,
        ttl_hours: float | None = None,
        owner_execution_id: str | None = None,
    ) -> Volume:
        """A new, empty volume with its storage. When the storage cannot be made the volume is Failed, and that error
        raised; deleting it clears up what there is."""
        now = self._clock.now()
        volume = Volume(
            id=new_id(),
            tenant_id=tenant_id,
            name=name,
            storage_class=storage_class,
            state=VolumeState.CREATING,
            created_at=now,
            size_limit_bytes=size_limit_bytes,
            expires_at=None if ttl_hours is None else now + timedelta(hours=ttl_hours),
            owner_execution_id=owner_execution_id,
            fsid=secrets.randbits(64) or 1,
        )
        await self._store.add_volume(volume)
        try:
            await self._gateway.create_storage(volume)
        except AegisError as error:
            await self._change(volume, VolumeEvent.FAIL, error=str(error))
            raise
        return await self._change(volume, VolumeEvent.CREATED)

    async def live(self, tenant_id: str | None = None) -> list[Volume]:
        """Newest first, without the deleted."""
        return await self._store.list_volumes(tenant_id, states=LIVE_STATES)

    async def show(self, tenant_id: str, volume_id: str) -> Volume:
        return await self._store.get_volume(tenant_id, volume_id)

    async def delete(self, tenant_id: str, volume_id: str) -> None:
        """The volume and every file in it. Conflict while it is attached. Safe to repeat after a failure."""
        volume = await self._store.get_volume(tenant_id, volume_id)
        if volume.state is VolumeState.DELETED:
            raise NotFound(f"Volume {volume.name} ({volume.id}) has been deleted already")
        deleting = await self._change(volume, VolumeEvent.DELETE)
        await self._gateway.delete_storage(deleting)
        await self._change(deleting, VolumeEvent.DELETED)

    async def attach(self, execution: Execution, spec: VolumeSpec) -> MountedVolume:
        """The volume a manifest asks for, made unless it names an existing one, exported to this execution only.

        VolumeAlreadyMounted, NotFound, WorldError; whatever was done by then is undone by `release`."""
        volume = await self._volume_for(execution, spec)
        attachment_id = new_id()
        attachment = Attachment(
            id=attachment_id,
            volume_id=volume.id,
            execution_id=execution.id,
            access_mode=spec.access_mode,
            mount_path=spec.mount_path,
            uid=execution.container_uid,
            gid=execution.container_gid,
            export_key=secrets.token_hex(8),
            docker_volume_name=f"aegis-{attachment_id}",
            created_at=self._clock.now(),
        )
        data = {
            "volume_id": volume.id,
            "name": volume.name,
            "mount_path": spec.mount_path,
            "mode": spec.access_mode.value,
        }
        await self._store.add_attachment(attachment, [self._event("volume.attached", execution.id, **data)])
        self._events.wake(execution.id)
        export_path = await self._gateway.attach(volume, attachment, rules_for(execution.manifest, spec))
        return MountedVolume(spec, volume, attachment, export_path)

    async def restore(self, execution: Execution) -> None:
        """Export again what a daemon before us had attached to a running execution, by the stored keys: before the
        gateway answers its first call, so that no handle of a live container is stale for a moment. What cannot be
        exported is logged; `resume` meets it again."""
        for attachment in reversed(await self._store.list_attachments(execution_id=execution.id)):
            spec = _spec_of(execution, attachment)
            if spec is None:
                continue
            try:
                volume = await self._store.get_volume(execution.tenant_id, attachment.volume_id)
                await self._gateway.attach(volume, attachment, rules_for(execution.manifest, spec))
            except AegisError as error:
                logger.error("volume %s of execution %s is not exported: %s", spec.name, execution.id, error)

    async def resume(self, execution: Execution, spec: VolumeSpec) -> MountedVolume:
        """As `attach`, by the attachment that is stored where there is one."""
        for attachment in await self._store.list_attachments(execution_id=execution.id):
            if attachment.mount_path == spec.mount_path:
                volume = await self._store.get_volume(execution.tenant_id, attachment.volume_id)
                export_path = await self._gateway.attach(volume, attachment, rules_for(execution.manifest, spec))
                return MountedVolume(spec, volume, attachment, export_path)
        return await self.attach(execution, spec)

    async def release(self, execution: Execution) -> None:
        """Detach all of an execution's volumes and delete its ephemeral ones. Every step is tried; the first failure is
        raised at the end, and a repetition does what is left."""
        failures: list[AegisError] = []
        for attachment in await self._store.list_attachments(execution_id=execution.id):
            try:
                await self._detach(execution, attachment)
            except AegisError as error:
                failures.append(error)
        owned = await self._store.list_volumes(execution.tenant_id, states=LIVE_STATES, owner_execution_id=execution.id)
        for volume in owned:
            try:
                await self.delete(volume.tenant_id, volume.id)
            except AegisError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def sweep(self, *, unfinished_seconds: float) -> list[Volume]:
        """Delete ephemeral volumes past their time that nobody holds, and finish what a daemon before us began: a
        volume that has been in the making for `unfinished_seconds` is Failed, one being deleted is deleted again.
        Returns what was changed; what cannot be done now is left for the next sweep."""
        swept = []
        for volume in await self._store.list_volumes(states=LIVE_STATES):
            try:
                if await self._swept(volume, unfinished_seconds):
                    swept.append(volume)
            except AegisError as error:
                logger.warning("volume %s (%s) stays %s for now: %s", volume.name, volume.id, volume.state, error)
        return swept

    async def _swept(self, volume: Volume, unfinished_seconds: float) -> bool:
        now = self._clock.now()
        expired = volume.expires_at is not None and volume.expires_at <= now
        match volume.state:
            case VolumeState.CREATING:
                if (now - volume.created_at).total_seconds() < unfinished_seconds:
                    return False
                await self._change(volume, VolumeEvent.FAIL, error="The daemon ended while this volume was being made")
            case VolumeState.DELETING:
                await self.delete(volume.tenant_id, volume.id)
            case VolumeState.AVAILABLE | VolumeState.DETACHED if expired and volume.is_ephemeral:
                await self.delete(volume.tenant_id, volume.id)
            case _:
                return False
        return True

    async def _volume_for(self, execution: Execution, spec: VolumeSpec) -> Volume:
        if spec.source_volume_id is not None:
            return await self._store.get_volume(execution.tenant_id, spec.source_volume_id)
        ephemeral = spec.storage_class is StorageClass.EPHEMERAL
        if ephemeral and (made := await self._made_before(execution, spec)) is not None:
            return made
        return await self.create(
            execution.tenant_id,
            spec.name,
            storage_class=spec.storage_class,
            size_limit_bytes=spec.size_limit_bytes,
            ttl_hours=spec.ttl_hours,
            owner_execution_id=execution.id if ephemeral else None,
        )

    async def _made_before(self, execution: Execution, spec: VolumeSpec) -> Volume | None:
        """By a daemon that died before it attached it."""
        owned = await self._store.list_volumes(
            execution.tenant_id, states=(VolumeState.AVAILABLE,), owner_execution_id=execution.id
        )
        return next((volume for volume in owned if volume.name == spec.name), None)

    async def _detach(self, execution: Execution, attachment: Attachment) -> None:
        volume = await self._store.get_volume(execution.tenant_id, attachment.volume_id)
        await self._gateway.detach(volume, attachment)
        event = self._event("volume.detached", execution.id, volume_id=volume.id, name=volume.name)
        await self._store.end_attachment(attachment.id, self._clock.now(), [event])
        self._events.wake(execution.id)

    async def _change(self, volume: Volume, event: VolumeEvent, *, error: str | None = None) -> Volume:
        try:
            changed = volume.after(event, error=error)
        except InvalidTransition:
            raise Conflict(
                f"Volume {volume.name} ({volume.id}) is {volume.state.value}",
                next_step="Wait for the executions that hold it, or cancel them",
            ) from None
        kinds = {VolumeEvent.CREATED: "volume.created", VolumeEvent.DELETED: "volume.deleted"}
        owner = volume.owner_execution_id
        events = [self._event(kinds[event], owner, volume_id=volume.id, name=volume.name)] if event in kinds else []
        await self._store.update_volume(changed, expect=volume.state, events=events)
        self._events.wake(owner or "")
        return changed

    def _event(self, kind: str, execution_id: str | None, **data: str) -> Event:
        return Event(kind, self._clock.now(), execution_id, None, dict(data))


def _spec_of(execution: Execution, attachment: Attachment) -> VolumeSpec | None:
    return next((each for each in execution.manifest.volumes if each.mount_path == attachment.mount_path), None)


def rules_for(manifest: AgentManifest, spec: VolumeSpec) -> FileRules:
    """What the gateway enforces on one volume of an agent."""
    read, write = mount_rules(manifest.security.filesystem, spec.mount_path)
    read_only = spec.access_mode is AccessMode.READ_ONLY
    return FileRules(read_only=read_only, read=read, write=write, identity=spec.identity)
