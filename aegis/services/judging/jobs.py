"""The daemon's side of `worker.py`: one process a job, few at a time, killed when its time is up."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

WORKER: Final = str(Path(__file__).with_name("worker.py"))
CPU_SECONDS: Final = 5
WALL_SECONDS: Final = 30.0  # the machine may be busy; the kernel counts the CPU time
AT_ONCE: Final = 2


class JobFailed(Exception):
    """The job came to no answer: its pattern or schema cannot be used, or it took too long. The text says which."""


class Jobs:
    """Owned by whoever makes it; holds nothing between jobs."""

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def found(self, pattern: str, text: str) -> bool:
        answer = await self._run({"kind": "regex", "pattern": pattern, "text": text})
        return bool(answer["found"])

    async def lines(
        self, pattern: str, texts: Sequence[tuple[str, str]], *, lines_max: int
    ) -> tuple[list[tuple[str, int, str]], bool]:
        """The matching lines, and whether there are more."""
        answer = await self._run({"kind": "grep", "pattern": pattern, "texts": list(texts), "lines_max": lines_max})
        return [(name, number, line) for name, number, line in answer["lines"]], bool(answer["more"])

    async def schema_errors(self, schema: Mapping[str, Any], document: Any) -> list[str]:
        """What is wrong with a document, the first few; empty: nothing."""
        answer = await self._run({"kind": "json_schema", "schema": dict(schema), "document": document})
        return [str(error) for error in answer["errors"]]

    async def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        job["cpu_seconds"] = self._cpu_seconds
        async with self._slots:
            status, output = await _in_a_process(json.dumps(job).encode())
        if status != 0:
            raise JobFailed(f"it was stopped after {self._cpu_seconds} s of computing, or out of memory")
        answer: dict[str, Any] = json.loads(output)
        if "error" in answer:
            raise JobFailed(answer["error"])
        return answer


async def _in_a_process(job: bytes) -> tuple[int, bytes]:
    """Exit status and output; the process has ended on return, also when the caller was cancelled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",  # neither the working directory nor the environment decides what is imported
        WORKER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WALL_SECONDS):
            output, _ = await process.communicate(job)
        return process.returncode or 0, output
    except TimeoutError:
        return -1, b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
