"""Trying again until a deadline, with growing pauses: what `remove` and `wait` do while the engine is busy."""

from __future__ import annotations

import asyncio

_FIRST_SECONDS = 0.05
_LAST_SECONDS = 1.0


class Patience:
    """`pause()` is False, at once, when the time is over: the caller then raises what stopped it last."""

    def __init__(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._pause_seconds = _FIRST_SECONDS

    async def pause(self) -> bool:
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await asyncio.sleep(min(self._pause_seconds, left))
        self._pause_seconds = min(self._pause_seconds * 2, _LAST_SECONDS)
        return True
