"""The engine may be away, or be one that cannot do it: the daemon says which, and goes on trying."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aegis.daemon import link as module
from aegis.daemon.link import EngineLink
from aegis.errors import DockerUnavailable, WorldError
from aegis.ports import EngineInfo

ROOTFUL = EngineInfo(
    version="24.0.7",
    api_version="1.43",
    rootless=False,
    userns_remap=False,
    kernel="6.1",
    operating_system="Debian",
)


class Engine:
    """Answers what it is told to; `None` is a socket with nothing behind it."""

    def __init__(self, *answers: EngineInfo | None) -> None:
        self.answers = list(answers)

    async def info(self) -> EngineInfo:
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise DockerUnavailable("There is no socket at /var/run/docker.sock: is Docker running?")
        return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)


def linked(engine: Engine, done: list[str]) -> EngineLink:
    async def on_linked() -> None:
        done.append("linked")

    return EngineLink(engine, on_linked)  # type: ignore[arg-type]  # the one method that is called


async def test_an_engine_that_comes_later_is_linked_once() -> None:
    done: list[str] = []
    link = linked(Engine(None, None, ROOTFUL), done)
    await asyncio.wait_for(link.run(), 10)
    await link.check()
    assert done == ["linked"]


async def test_until_then_the_health_check_says_what_is_missing() -> None:
    link = linked(Engine(None), [])
    with pytest.raises(DockerUnavailable, match="no socket"):
        await link.check()


async def test_a_rootless_engine_is_refused_with_the_reason_and_the_way_out() -> None:
    done: list[str] = []
    link = linked(Engine(replace(ROOTFUL, rootless=True)), done)
    running = asyncio.create_task(link.run())
    with pytest.raises(WorldError, match="rootless: the kernel mounts no NFS") as caught:
        await link.check()
    assert "runtime.docker_url" in caught.value.next_step
    running.cancel()
    assert done == []


async def test_what_went_wrong_when_linking_is_shown_until_it_is_mended() -> None:
    tried, mended = asyncio.Event(), asyncio.Event()

    async def on_linked() -> None:
        tried.set()
        if not mended.is_set():
            raise WorldError("network aegis has another gateway")

    link = EngineLink(Engine(ROOTFUL), on_linked)  # type: ignore[arg-type]  # the one method that is called
    running = asyncio.create_task(link.run())
    await tried.wait()
    with pytest.raises(WorldError, match="another gateway"):
        await link.check()
    mended.set()
    await asyncio.wait_for(running, 10)
    await link.check()
