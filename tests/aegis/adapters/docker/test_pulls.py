"""Pulls that are shared, cancelled, broken off or refused inside a 200 answer (see fake_engine.py)."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from aegis.adapters.docker import DockerEngine, RegistryCredentials
from aegis.domain.images import PullProgress
from aegis.domain.manifest import PullPolicy
from aegis.errors import ImageNotFound, ImagePullFailed
from tests.aegis.adapters.docker.conftest import Connect
from tests.support.fake_engine import FakeEngine

PULL = "POST create"
LAYER = {"id": "a1", "status": "Downloading", "progressDetail": {"current": 40, "total": 100}}


@pytest.fixture
async def engine(fake: FakeEngine, connect: Connect) -> DockerEngine:
    return connect(str(fake.socket_path), {"https://index.docker.io/v1/": RegistryCredentials("me", "secret")})


async def under_way(fake: FakeEngine) -> None:
    await fake.until(lambda: fake.requests[PULL] > 0)


async def test_all_who_wait_share_one_pull_under_its_different_names(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_gate.clear()
    names = ("python", "python:latest", "docker.io/library/python", "index.docker.io/library/python:latest")
    pulls = [asyncio.create_task(engine.ensure_image(name, PullPolicy.ALWAYS)) for name in names]
    await under_way(fake)
    fake.pull_gate.set()
    assert len(set(await asyncio.gather(*pulls))) == 1
    assert fake.requests[PULL] == 1


async def test_a_waiter_that_is_cancelled_leaves_the_pull_to_the_others(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_gate.clear()
    first = asyncio.create_task(engine.ensure_image("python", PullPolicy.ALWAYS))
    second = asyncio.create_task(engine.ensure_image("python", PullPolicy.ALWAYS))
    await under_way(fake)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    fake.pull_gate.set()
    assert (await second).id.startswith("sha256:")
    assert (fake.requests[PULL], fake.pulls_cancelled) == (1, 0)


async def test_a_pull_nobody_waits_for_any_more_is_stopped(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_gate.clear()
    only = asyncio.create_task(engine.ensure_image("python", PullPolicy.ALWAYS))
    await under_way(fake)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    await fake.until(lambda: fake.pulls_cancelled == 1)
    fake.pull_gate.set()
    assert (await engine.ensure_image("python", PullPolicy.ALWAYS)).id.startswith("sha256:")


async def test_closing_the_adapter_ends_its_pulls(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_gate.clear()
    waiting = asyncio.create_task(engine.ensure_image("python", PullPolicy.ALWAYS))
    await under_way(fake)
    await engine.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_progress_adds_up_all_layers(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_lines = [
        LAYER,
        {"id": "b2", "status": "Downloading", "progressDetail": {"current": 5, "total": 50}},
        {"id": "a1", "status": "Download complete", "progressDetail": {}},
        {"status": "Status: Downloaded newer image for python"},
    ]
    heard: list[PullProgress] = []
    await engine.ensure_image("python", PullPolicy.IF_NOT_PRESENT, heard.append)
    assert (heard[0].bytes_done, heard[0].bytes_total) == (40, 100)
    assert heard[-1] == PullProgress("docker.io/library/python:latest", "Pull complete", 150, 150)


async def test_a_listener_that_fails_ends_nobodys_pull(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_lines = [LAYER]

    def broken(progress: PullProgress) -> None:
        raise LookupError(progress.image)

    assert (await engine.ensure_image("python", PullPolicy.ALWAYS, broken)).id.startswith("sha256:")


async def test_an_error_inside_the_stream_is_an_error(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_lines = [LAYER, {"error": "x", "errorDetail": {"message": "manifest for python:9 not found"}}]
    with pytest.raises(ImageNotFound, match=r"has no image docker\.io/library/python:9"):
        await engine.ensure_image("python:9", PullPolicy.IF_NOT_PRESENT)


async def test_a_full_disk_is_named(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_lines = [{"error": "write /var/lib/docker/tmp/x: no space left on device"}]
    with pytest.raises(ImagePullFailed, match="docker system df"):
        await engine.ensure_image("python", PullPolicy.ALWAYS)


async def test_a_pull_that_breaks_off_is_no_success(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_lines = [LAYER]
    fake.pull_breaks_off = True
    with pytest.raises(ImagePullFailed, match="broke off") as caught:
        await engine.ensure_image("python", PullPolicy.ALWAYS)
    assert caught.value.retryable


async def test_a_pull_that_ends_well_without_an_image_is_no_success(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.pull_delivers = False
    with pytest.raises(ImagePullFailed, match="the engine does not have the image"):
        await engine.ensure_image("python", PullPolicy.IF_NOT_PRESENT)


async def test_a_pull_that_falls_silent_is_given_up(fake: FakeEngine, connect: Connect) -> None:
    engine = connect(fake.socket_path, pull_silence_seconds=0.1)
    fake.pull_lines = [LAYER]
    fake.pull_gate.clear()
    with pytest.raises(ImagePullFailed, match=r"said nothing for 0\.1 s"):
        await engine.ensure_image("python", PullPolicy.ALWAYS)


async def test_credentials_of_the_hub_go_to_the_hub_only(fake: FakeEngine, engine: DockerEngine) -> None:
    await engine.ensure_image("python", PullPolicy.ALWAYS)
    assert fake.last_auth is not None
    assert json.loads(base64.urlsafe_b64decode(fake.last_auth)) == {
        "username": "me",
        "password": "secret",
        "serveraddress": "https://index.docker.io/v1/",
    }
    await engine.ensure_image("ghcr.io/python", PullPolicy.ALWAYS)
    assert fake.last_auth is None
