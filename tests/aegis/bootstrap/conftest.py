"""Every test of this directory that asks for `bootstrap` holds for each of the programs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.bootstraps import PROGRAMS, Bootstrap, Orchestrator, listen, missing


@pytest.fixture(params=["python", "native"])
def bootstrap(request: pytest.FixtureRequest) -> Bootstrap:
    if reason := missing(request.param):
        pytest.skip(reason)
    return Bootstrap(PROGRAMS[request.param])


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
async def port(orchestrator: Orchestrator) -> AsyncIterator[int]:
    runner, port = await listen(orchestrator)
    yield port
    await runner.cleanup()
