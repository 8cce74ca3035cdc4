"""Image policies and pulls against a real Docker Engine and a real private registry."""

from __future__ import annotations

import asyncio
import io
import random
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aegis.adapters.docker import DockerEngine, RegistryCredentials
from aegis.domain.images import PullProgress
from aegis.domain.manifest import PullPolicy
from aegis.errors import ImageNotFound, ImagePullFailed, Refused
from tests.aegis.adapters.docker.conftest import Connect
from tests.support import host_docker
from tests.support.host_docker import BUSYBOX, REGISTRY, REGISTRY_PASSWORD, REGISTRY_USER, HostDocker

ROOT = Path(__file__).parents[4]
PROXY = "127.0.0.1:5001"
CUT_BYTES = 1 << 20
IMAGE = f"{REGISTRY}/team/busybox:1"
CREDENTIALS = {REGISTRY: RegistryCredentials(REGISTRY_USER, REGISTRY_PASSWORD)}


@pytest.fixture(scope="module")
def registry(docker_host: HostDocker) -> Iterator[HostDocker]:
    if reason := host_docker.missing(("docker-registry", "docker-registry")):
        pytest.skip(reason)
    docker_host.start_registry()
    yield docker_host


@pytest.fixture
async def reader(registry: HostDocker, connect: Connect) -> AsyncIterator[DockerEngine]:
    """An adapter with credentials; the engine does not have the registry's image, neither by name nor its layers."""
    for tag in (IMAGE, BUSYBOX):
        registry.api("DELETE", f"/images/{tag}?force=1", raw=True) if _has(registry, tag) else None
    engine = connect(registry.socket_path, CREDENTIALS)
    yield engine
    registry.import_busybox()


def _has(host: HostDocker, tag: str) -> bool:
    return any(tag in (image["RepoTags"] or []) for image in host.api("GET", "/images/json"))


async def test_never_contacts_nobody_and_names_the_way_out(engine: DockerEngine) -> None:
    with pytest.raises(ImageNotFound, match="image_pull_policy is Never"):
        await engine.ensure_image("192.0.2.1/never/asked:1", PullPolicy.NEVER)


async def test_a_present_image_is_found_by_name_and_by_id(engine: DockerEngine) -> None:
    image = await engine.ensure_image(BUSYBOX, PullPolicy.IF_NOT_PRESENT)
    assert image.id.startswith("sha256:")
    assert image.architecture
    assert await engine.ensure_image(image.id, PullPolicy.ALWAYS) == image
    assert await engine.ensure_image(BUSYBOX, PullPolicy.NEVER) == image


async def test_pull_with_credentials_reports_progress_to_the_end(reader: DockerEngine) -> None:
    heard: list[PullProgress] = []
    image = await reader.ensure_image(IMAGE, PullPolicy.IF_NOT_PRESENT, heard.append)
    assert [digest.partition("@")[0] for digest in image.digests] == [IMAGE.rpartition(":")[0]]
    assert {progress.image for progress in heard} == {IMAGE}
    assert heard[-1].status == "Pull complete"
    assert heard[-1].bytes_total is None or heard[-1].bytes_done == heard[-1].bytes_total
    assert await reader.ensure_image(IMAGE, PullPolicy.NEVER) == image


async def test_concurrent_pulls_all_get_the_image(reader: DockerEngine) -> None:
    ids = await asyncio.gather(*(reader.ensure_image(IMAGE, PullPolicy.ALWAYS) for _ in range(5)))
    assert len(set(ids)) == 1


async def test_always_asks_the_registry_even_for_a_present_image(reader: DockerEngine) -> None:
    await reader.ensure_image(IMAGE, PullPolicy.IF_NOT_PRESENT)
    heard: list[PullProgress] = []
    await reader.ensure_image(IMAGE, PullPolicy.ALWAYS, heard.append)
    assert heard


async def test_without_credentials_the_registry_is_named_and_what_to_add(
    registry: HostDocker, engine: DockerEngine
) -> None:
    with pytest.raises(ImagePullFailed, match=f"add registry_credentials for {REGISTRY}") as caught:
        await engine.ensure_image(f"{REGISTRY}/team/other:1", PullPolicy.IF_NOT_PRESENT)
    assert not caught.value.retryable


async def test_wrong_credentials_are_said_to_be_wrong(registry: HostDocker, connect: Connect) -> None:
    engine = connect(registry.socket_path, {REGISTRY: RegistryCredentials(REGISTRY_USER, "wrong")})
    with pytest.raises(ImagePullFailed, match=f"Check the registry_credentials of {REGISTRY}"):
        await engine.ensure_image(f"{REGISTRY}/team/other:1", PullPolicy.IF_NOT_PRESENT)


async def test_credentials_go_to_exactly_their_registry(registry: HostDocker, connect: Connect) -> None:
    engine = connect(registry.socket_path, {f"x{REGISTRY}": CREDENTIALS[REGISTRY]})
    with pytest.raises(ImagePullFailed, match="add registry_credentials"):
        await engine.ensure_image(f"{REGISTRY}/team/other:1", PullPolicy.IF_NOT_PRESENT)


async def test_an_image_the_registry_does_not_have_is_not_found(reader: DockerEngine) -> None:
    with pytest.raises(ImageNotFound, match=f"{REGISTRY}/team/none:7"):
        await reader.ensure_image(f"{REGISTRY}/team/none:7", PullPolicy.IF_NOT_PRESENT)


async def test_a_tag_the_registry_does_not_have_is_not_found(reader: DockerEngine) -> None:
    with pytest.raises(ImageNotFound, match=f"has no image {REGISTRY}/team/busybox:2"):
        await reader.ensure_image(f"{REGISTRY}/team/busybox:2", PullPolicy.IF_NOT_PRESENT)


async def test_a_digest_is_the_image_it_names_whatever_the_tag_beside_it_says(
    registry: HostDocker, reader: DockerEngine
) -> None:
    [digest] = (await reader.ensure_image(IMAGE, PullPolicy.IF_NOT_PRESENT)).digests
    registry.api("DELETE", f"/images/{IMAGE}?force=1", raw=True)
    with pytest.raises(ImageNotFound, match="image_pull_policy is Never"):
        await reader.ensure_image(digest, PullPolicy.NEVER)
    pulled = await reader.ensure_image(digest.replace("@", ":moved-elsewhere@"), PullPolicy.IF_NOT_PRESENT)
    assert pulled.digests == (digest,)
    assert await reader.ensure_image(digest, PullPolicy.NEVER) == pulled


async def test_a_digest_nobody_has_is_not_found(reader: DockerEngine) -> None:
    with pytest.raises(ImageNotFound, match="has no image"):
        await reader.ensure_image(f"{REGISTRY}/team/busybox@sha256:{'0' * 64}", PullPolicy.IF_NOT_PRESENT)


async def test_a_registry_that_is_down_stops_pulls_and_not_what_is_there(
    registry: HostDocker, reader: DockerEngine
) -> None:
    image = await reader.ensure_image(IMAGE, PullPolicy.IF_NOT_PRESENT)
    registry.stop_registry()
    try:
        with pytest.raises(ImagePullFailed, match=f"{REGISTRY} cannot be reached") as caught:
            await reader.ensure_image(IMAGE, PullPolicy.ALWAYS)
        assert caught.value.retryable
        for name in (IMAGE, image.digests[0]):
            assert await reader.ensure_image(name, PullPolicy.IF_NOT_PRESENT) == image
    finally:
        registry.serve_registry()


async def test_a_pull_that_is_cut_in_the_middle_fails_may_pass_and_leaves_no_image(
    registry: HostDocker, connect: Connect
) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("noise")
        entry.size = 3 * CUT_BYTES
        tar.addfile(entry, io.BytesIO(random.Random(5).randbytes(entry.size)))
    registry.import_image(f"{REGISTRY}/team/noise:1", layer.getvalue())
    registry.push(f"{REGISTRY}/team/noise", "1")
    registry.api("DELETE", f"/images/{REGISTRY}/team/noise:1?force=1", raw=True)
    engine = connect(registry.socket_path, dict.fromkeys((REGISTRY, PROXY), CREDENTIALS[REGISTRY]))
    port, target = PROXY.rpartition(":")[2], REGISTRY.rpartition(":")[2]
    argv = [sys.executable, "-m", "tests.support.cutting_proxy", port, target, str(CUT_BYTES)]
    proxy = subprocess.Popen(registry.in_its_network(argv), cwd=ROOT, stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert proxy.stdout is not None
    assert proxy.stdout.readline() == b"ready\n"
    try:
        with pytest.raises(ImagePullFailed) as caught:
            await engine.ensure_image(f"{PROXY}/team/noise:1", PullPolicy.IF_NOT_PRESENT)
        assert caught.value.retryable
        with pytest.raises(ImageNotFound):
            await engine.ensure_image(f"{PROXY}/team/noise:1", PullPolicy.NEVER)
    finally:
        proxy.kill()
        proxy.communicate()
    assert (await engine.ensure_image(f"{REGISTRY}/team/noise:1", PullPolicy.IF_NOT_PRESENT)).digests


async def test_an_unreachable_registry_is_a_failure_that_may_pass(engine: DockerEngine) -> None:
    with pytest.raises(ImagePullFailed, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
        await engine.ensure_image("127.0.0.1:1/some/image:1", PullPolicy.IF_NOT_PRESENT)
    assert caught.value.retryable


async def test_a_name_that_is_none_is_refused_before_anybody_is_asked(engine: DockerEngine) -> None:
    with pytest.raises(Refused, match="'Python:3' is not the name of an image"):
        await engine.ensure_image("Python:3", PullPolicy.ALWAYS)
