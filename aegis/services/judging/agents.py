"""A deployed agent as a judge: a child execution that reads its parent's workspace and gives its opinion as its answer.

The rules to know:
- The child is an execution like any other, of its parent's tenant, with its own manifest's limits, tools and
  validators; only its volumes differ: its parent's are attached to it read-only, at the paths its parent has them. Of
  its own, those that would lie in or around one of these are left out.
- Its parent waits for it inside its own run, so the end of the wait, however it comes, is the end of the child: the
  parent's volumes are not released before, and what the child has cost by then is on its parent's bill too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from aegis.domain.execution import FINAL_STATES, Agent, Execution, ExecutionState
from aegis.domain.manifest import AccessMode, AgentManifest, StorageClass, VolumeSpec
from aegis.errors import Conflict, JudgeFailed, NotFound, Refused
from aegis.ports import Store
from aegis.services.judging.candidate import Candidate
from aegis.services.judging.judges import Answer
from aegis.services.timing import finished
from aegis.services.volumes import MountedVolume


class Supervisor(Protocol):
    """`ExecutionSupervisor`, as far as it is asked here."""

    async def start(
        self, agent: Agent, input: str, tenant_id: str, *, parent: Execution | None = None
    ) -> Execution: ...

    async def cancel(self, execution_id: str) -> Execution: ...

    async def wait(self, execution_id: str) -> Execution: ...


class JudgeAgents:
    """`supervisor` is set once all services are made: it is the one that runs the execution which asks here."""

    supervisor: Supervisor

    def __init__(self, store: Store) -> None:
        self._store = store

    async def answer(self, agent: str, text: str, candidate: Candidate, label: str) -> Answer:
        """The final response of the child. JudgeFailed when it did not complete."""
        parent = candidate.execution
        try:
            found = await self._store.get_agent(parent.tenant_id, agent)
            judge = replace(found, manifest=with_volumes_of(found.manifest, candidate.mounted))
            child = await self.supervisor.start(judge, text, parent.tenant_id, parent=parent)
        except (NotFound, Refused) as error:
            raise JudgeFailed(f"judge {agent} cannot be run: {error}") from error
        try:
            await candidate.journal.tell("judge.started", validator=label, judge=agent, execution_id=child.id)
            ended = await self.supervisor.wait(child.id)
        finally:
            input_tokens, output_tokens = await finished(self._end(child, candidate), f"end of judge {child.id}")
        if ended.state is not ExecutionState.COMPLETED:
            why = f": {ended.error}" if ended.error else ""
            raise JudgeFailed(f"judge {agent} (execution {child.id}) is {ended.state.value}{why}")
        return Answer(ended.output or "", input_tokens, output_tokens, child.id)

    async def _end(self, child: Execution, candidate: Candidate) -> tuple[int, int]:
        """Nothing of it runs on return, and it is billed; its tokens."""
        if (await self._store.get_execution(child.id)).state not in FINAL_STATES:
            try:
                await self.supervisor.cancel(child.id)
            except Conflict:
                pass  # it ended by itself meanwhile
        await self.supervisor.wait(child.id)
        return await self._billed(child, candidate)

    async def _billed(self, child: Execution, candidate: Candidate) -> tuple[int, int]:
        """What the child has used, its own judges included, added to its parent's bill; its tokens."""
        used = await self._store.list_usage(child.id)
        for each in used:
            await self._store.add_usage(candidate.execution.id, replace(each, iteration=candidate.iteration))
        return sum(each.input_tokens for each in used), sum(each.output_tokens for each in used)


def with_volumes_of(manifest: AgentManifest, mounted: Sequence[MountedVolume]) -> AgentManifest:
    """The judge's manifest with its parent's volumes, read-only, before those of its own that do not touch them."""
    shared = tuple(
        VolumeSpec(
            name=each.spec.name,
            mount_path=each.spec.mount_path,
            storage_class=StorageClass.PERSISTENT,  # not the child's to delete
            access_mode=AccessMode.READ_ONLY,
            source_volume_id=each.volume.id,
            mount_profile=each.spec.mount_profile,
            identity=each.spec.identity,
        )
        for each in mounted
    )
    own = tuple(each for each in manifest.volumes if not any(_touch(each, other) for other in shared))
    return manifest.model_copy(update={"volumes": (*shared, *own)})


def _touch(one: VolumeSpec, other: VolumeSpec) -> bool:
    a, b = (each.mount_path.rstrip("/") + "/" for each in (one, other))
    return a.startswith(b) or b.startswith(a)
