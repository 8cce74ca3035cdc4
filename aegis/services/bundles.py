"""Bundles: what agents need on a host without a registry, as one file (`aegis.domain.bundles`), out and in again.

The rules to know: nothing is held whole, parts go through one at a time. Loading gives the engine only parts whose
checksum is right, and an archive that stays incomplete is one the engine imports nothing of. Agents are deployed when
the images are there, and a manifest that this version cannot read is refused before anything is imported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from aegis.domain import bundles
from aegis.domain.execution import Agent
from aegis.domain.images import LocalImage
from aegis.domain.manifest import AgentManifest, PullPolicy, Runtime, judges_of
from aegis.errors import ImageNotFound, Refused
from aegis.ids import new_id
from aegis.ports import Clock, Store

AGENTS_MAX = 200


ImageOf = Callable[[Runtime], tuple[str, PullPolicy]]
"""The image a manifest's runtime means on this node, and when it is pulled; Refused: none."""


class BundleDamaged(Refused):
    code = "bundle_damaged"


class BundledImage(BaseModel):
    """`reference`: as manifests name it; `id` and `digests`: what that was where the bundle was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    id: str
    architecture: str
    digests: tuple[str, ...]


class BundledRuntime(BaseModel):
    """What a language and version meant there: an entry of `runtime-registry.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    version: str
    image: str


class Contents(BaseModel):
    """The head of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = bundles.FORMAT
    made_by: str
    made_at: str
    agents: tuple[AgentManifest, ...]
    images: tuple[BundledImage, ...]
    runtimes: tuple[BundledRuntime, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """`unknown_runtimes`: what this node's registry has another image for, or none."""

    contents: Contents
    agents: tuple[Agent, ...]
    unknown_runtimes: tuple[BundledRuntime, ...]


class ImageArchive(Protocol):
    """An engine's images, as far as bundles need them."""

    async def ensure_image(self, image: str, policy: PullPolicy) -> LocalImage: ...

    def save_images(self, images: Sequence[str]) -> AsyncIterator[bytes]:
        """One archive of all, which `load_images` of any engine takes. A name with a digest is found by it there."""
        ...

    async def load_images(self, content: AsyncIterator[bytes]) -> None:
        """What `content` raises is raised, and then nothing was imported."""
        ...


class Bundles:
    def __init__(self, *, store: Store, engine: ImageArchive, image_of: ImageOf, clock: Clock, version: str) -> None:
        self._store = store
        self._engine = engine
        self._image_of = image_of
        self._clock = clock
        self._version = version

    # ---- out ----

    async def save(self, tenant_id: str, agents: Sequence[str], images: Sequence[str]) -> AsyncIterator[bytes]:
        """The file, piece by piece, of these agents, those that judge for them, and the images of all (pulled by their
        policies where missing). Before the first piece: NotFound, ImageNotFound, ImagePullFailed, Refused."""
        manifests = await self._with_judges(tenant_id, agents)
        wanted: dict[str, PullPolicy] = dict.fromkeys(images, PullPolicy.IF_NOT_PRESENT)
        wanted |= dict(self._image_of(manifest.runtime) for manifest in manifests)
        if not wanted:
            raise Refused("A bundle of nothing", next_step="Name agents, or images")
        present = {name: await self._engine.ensure_image(name, policy) for name, policy in wanted.items()}
        contents = Contents(
            made_by=f"aegis {self._version}",
            made_at=self._clock.now().isoformat(timespec="seconds"),
            agents=tuple(manifests),
            images=tuple(
                BundledImage(reference=name, id=image.id, architecture=image.architecture, digests=image.digests)
                for name, image in present.items()
            ),
            runtimes=tuple(self._runtimes(manifests)),
        )
        writer = bundles.Writer()
        yield writer.head(contents.model_dump(mode="json"))
        async for content in _in_parts(self._engine.save_images(list(wanted))):
            yield writer.image_part(content)
        yield writer.end()

    async def _with_judges(self, tenant_id: str, names: Sequence[str]) -> list[AgentManifest]:
        found: dict[str, AgentManifest] = {}
        waiting = list(names)
        while waiting:
            manifest = (await self._store.get_agent(tenant_id, waiting.pop())).manifest
            if manifest.name in found:
                continue
            if len(found) >= AGENTS_MAX:
                raise Refused(f"More than {AGENTS_MAX} agents for one bundle")
            found[manifest.name] = manifest
            judges = (judge for validator in manifest.execution.validators for judge in judges_of(validator))
            waiting += [judge.agent for judge in judges if judge.agent is not None]
        return list(found.values())

    def _runtimes(self, manifests: Sequence[AgentManifest]) -> list[BundledRuntime]:
        found = {}
        for runtime in (manifest.runtime for manifest in manifests):
            if runtime.image is None and runtime.language is not None and runtime.version is not None:
                image, _ = self._image_of(runtime)
                entry = BundledRuntime(language=runtime.language, version=runtime.version, image=image)
                found[runtime.language, runtime.version] = entry
        return list(found.values())

    # ---- in ----

    async def load(self, tenant_id: str, content: AsyncIterator[bytes]) -> Loaded:
        """Images into the engine, then agents deployed. BundleDamaged names the part; Refused: another version's."""
        parts = _parts(content)
        head = await anext(parts, None)
        if head is None:
            raise BundleDamaged("The bundle cannot be used: it is empty")
        contents = _contents(head.content)
        await self._engine.load_images(_contents_of(parts))
        for image in contents.images:
            try:
                await self._engine.ensure_image(image.reference, PullPolicy.NEVER)
            except ImageNotFound as error:
                raise BundleDamaged(f"The bundle names the image {image.reference} and does not hold it") from error
        agents = [
            Agent(id=new_id(), tenant_id=tenant_id, manifest=manifest, created_at=self._clock.now())
            for manifest in contents.agents
        ]
        for agent in agents:
            await self._store.add_agent(agent)
        unknown = [each for each in contents.runtimes if self._means(each) != each.image]
        return Loaded(contents, tuple(agents), tuple(unknown))

    def _means(self, entry: BundledRuntime) -> str | None:
        try:
            return self._image_of(Runtime(language=entry.language, version=entry.version))[0]
        except Refused:
            return None


def _contents(content: bytes) -> Contents:
    try:
        return Contents.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "(the whole)"
        raise Refused(
            f"The bundle is of another version: {bundles.HEAD}: {place}: {first['msg']}",
            next_step="Make it with the version that is to load it",
        ) from None


async def _parts(content: AsyncIterator[bytes]) -> AsyncIterator[bundles.Part]:
    reader = bundles.Reader()
    try:
        async for data in content:
            for part in reader.feed(data):
                yield part
        reader.close()
    except bundles.Damaged as damage:
        raise BundleDamaged(
            f"The bundle is damaged: {damage}", next_step="Copy it again, or make it again with `aegis bundle save`"
        ) from damage


async def _contents_of(parts: AsyncIterator[bundles.Part]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.name != bundles.END:
            yield part.content


async def _in_parts(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for data in content:
        buffer += data
        while len(buffer) >= bundles.PART_BYTES:
            yield bytes(buffer[: bundles.PART_BYTES])
            del buffer[: bundles.PART_BYTES]
    if buffer:
        yield bytes(buffer)
