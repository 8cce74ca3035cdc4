"""Bundles with a real engine and a real registry: out, removed, in again; damaged ones import nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from aegis.adapters.docker import DockerEngine, RegistryCredentials
from aegis.domain.manifest import PullPolicy
from aegis.errors import ImageNotFound, WorldError
from aegis.services.bundles import BundleDamaged, Bundles
from aegis.services.timing import SystemClock
from tests.aegis.adapters.docker.conftest import Connect
from tests.support import host_docker
from tests.support.host_docker import BUSYBOX, REGISTRY, REGISTRY_PASSWORD, REGISTRY_USER, HostDocker
from tests.support.memory_store import MemoryStore

OURS = f"{REGISTRY}/team/busybox:1"


@pytest.fixture(scope="module")
def registry(docker_host: HostDocker) -> Iterator[HostDocker]:
    if reason := host_docker.missing(("docker-registry", "docker-registry")):
        pytest.skip(reason)
    docker_host.start_registry()
    yield docker_host
    docker_host.stop_registry()


@pytest.fixture
async def engine(registry: HostDocker, connect: Connect) -> DockerEngine:
    return connect(registry.socket_path, {REGISTRY: RegistryCredentials(REGISTRY_USER, REGISTRY_PASSWORD)})


@pytest.fixture
async def pinned(registry: HostDocker, engine: DockerEngine) -> str:
    """The registry's image by its digest, which is not on the host."""
    [digest] = (await engine.ensure_image(OURS, PullPolicy.ALWAYS)).digests
    remove(registry, OURS)
    return digest


def remove(host: HostDocker, *names: str) -> None:
    tags = [tag for image in host.api("GET", "/images/json") for tag in image["RepoTags"] or []]
    for name in names:
        if name in tags or "@" in name:
            host.api("DELETE", f"/images/{name}?force=1", raw=True)


def make(engine: DockerEngine) -> Bundles:
    def no_runtimes(_: object) -> tuple[str, PullPolicy]:
        raise AssertionError("these bundles hold no agents")

    return Bundles(store=MemoryStore(), engine=engine, image_of=no_runtimes, clock=SystemClock(), version="0")


async def saved(engine: DockerEngine, *images: str) -> bytes:
    return b"".join([piece async for piece in make(engine).save("t", [], images)])


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 50_000):
        yield content[at : at + 50_000]


async def test_images_by_tag_and_by_digest_are_there_again_without_a_registry(
    registry: HostDocker, engine: DockerEngine, pinned: str
) -> None:
    file = await saved(engine, BUSYBOX, pinned)
    before = [await engine.ensure_image(name, PullPolicy.NEVER) for name in (BUSYBOX, pinned)]
    registry.api("DELETE", f"/images/{before[1].id}?force=1", raw=True)
    remove(registry, BUSYBOX)
    for name in (BUSYBOX, pinned):
        with pytest.raises(ImageNotFound):
            await engine.ensure_image(name, PullPolicy.NEVER)
    loaded = await make(engine).load("t", in_pieces(file))
    assert [image.reference for image in loaded.contents.images] == [BUSYBOX, pinned]
    for policy in (PullPolicy.NEVER, PullPolicy.IF_NOT_PRESENT):
        after = [await engine.ensure_image(name, policy) for name in (BUSYBOX, pinned)]
        assert [image.id for image in after] == [image.id for image in before]
    registry.api("DELETE", f"/images/{before[1].id}?force=1", raw=True)
    registry.import_busybox()


async def test_a_damaged_or_short_bundle_imports_nothing(registry: HostDocker, engine: DockerEngine) -> None:
    registry.import_image("aegis-test/bundled:1", b"\0" * 10240, "ENV A=b")
    file = await saved(engine, "aegis-test/bundled:1")
    remove(registry, "aegis-test/bundled:1")
    damaged = bytearray(file)
    damaged[file.index(b"aegis-test/bundled", file.index(b"images/000000@"))] ^= 1
    for content, part in ((bytes(damaged), "images/000000"), (file[:-2000], "end.json|images/00000.")):
        with pytest.raises(BundleDamaged, match=f"its part ({part})"):
            await make(engine).load("t", in_pieces(content))
        with pytest.raises(ImageNotFound):
            await engine.ensure_image("aegis-test/bundled:1", PullPolicy.NEVER)
    await make(engine).load("t", in_pieces(file))
    assert (await engine.ensure_image("aegis-test/bundled:1", PullPolicy.NEVER)).id
    remove(registry, "aegis-test/bundled:1")


async def test_what_the_engine_cannot_load_is_told_in_its_words(engine: DockerEngine) -> None:
    with pytest.raises(WorldError, match="The engine did not load the images"):
        await engine.load_images(in_pieces(b"no archive" * 1000))
