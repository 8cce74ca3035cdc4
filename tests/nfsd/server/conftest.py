"""A served export on a temporary directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.server.selector import polling_loop_factory
from tests.support.served import Served, local


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


@pytest.fixture(params=["asyncio", "uvloop"])
def served(request: pytest.FixtureRequest, volume: Path) -> Iterator[Served]:
    """On both event loops; uvloop is optional for users, not for us."""
    factory = polling_loop_factory()
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop
    with Served(loop_factory=factory) as served:
        served.attach(lambda: local(volume))
        yield served
