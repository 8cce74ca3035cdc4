"""What the daemon makes of its state directory."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aegis.daemon import parts
from aegis.errors import WorldError


async def test_a_state_directory_has_one_daemon_and_a_second_is_told_which(tmp_path: Path) -> None:
    async with AsyncExitStack() as first:
        parts.only_daemon(tmp_path, first)
        async with AsyncExitStack() as second:
            with pytest.raises(WorldError, match=f"in use by another daemon \\(process {os.getpid()}\\)") as raised:
                parts.only_daemon(tmp_path, second)
            assert not raised.value.retryable
    async with AsyncExitStack() as third:
        parts.only_daemon(tmp_path, third)
