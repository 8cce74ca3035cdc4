"""An MCP server for tests, made with the SDK's own FastMCP: `python -m tests.support.tool_server`.

Its tools do what servers do well and badly; `misbehave` does it below the SDK, on the real standard output.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Annotated, Any

import anyio
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.utilities.types import Image
from pydantic import BaseModel, Field

server = FastMCP("tests", log_level="WARNING")


class Point(BaseModel):
    x: int
    y: int


@server.tool()
def add(a: Annotated[int, Field(description="The first")], b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def point() -> Point:
    return Point(x=1, y=2)


@server.tool()
def picture() -> Image:
    return Image(data=b"\x89PNG" + bytes(96), format="png")


@server.tool(structured_output=False)
def environment() -> list[str]:
    """Everything this process was told."""
    return [f"{name}={value}" for name, value in sorted(os.environ.items())]


@server.tool()
def fail(why: str) -> str:
    raise ValueError(why)


@server.tool(structured_output=False)
def big(characters: int) -> str:
    return "x" * characters


@server.tool()
async def sleep(seconds: float) -> str:
    """Waits, and notices when nobody waits for it any more."""
    print("sleeping", file=sys.stderr, flush=True)
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        print("cancelled", file=sys.stderr, flush=True)
        raise
    return "slept"


@server.tool()
def block(seconds: float) -> str:
    """Waits as a server of one thread does: it answers nothing meanwhile."""
    time.sleep(seconds)
    return "blocked"


@server.tool()
async def learn(name: str, context: Context[Any, Any, Any]) -> str:
    """Offers a new tool from now on."""

    def new() -> str:
        return f"{name} was called"

    server.add_tool(new, name=name)
    await context.session.send_tool_list_changed()
    return "learnt"


@server.tool()
def say(text: str) -> str:
    print(text, file=sys.stderr, flush=True)
    return "said"


@server.tool()
def spawn() -> int:
    """A child that ends with nobody; its pid."""
    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return child.pid


@server.tool()
def misbehave(how: str) -> str:
    match how:
        case "die":
            print("no more", file=sys.stderr, flush=True)
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "garbage":
            os.write(1, b"not a message\n" * 50)
        case "endless line":
            for _ in range(100):
                _write(b"x" * 65_536)
        case "flood":
            for _ in range(20_000):
                _write(b'{"jsonrpc": "2.0", "method": "notifications/unheard", "params": {}}\n')
        case "close output":
            os.close(1)
    return "done"


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    if "--deaf" in sys.argv:  # neither its input's end nor a polite signal ends it
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            server.run()
        finally:
            while True:
                time.sleep(1000)
    server.run()
