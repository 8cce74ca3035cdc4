"""The layers of ARCHITECTURE.md, held by reading the imports of every module.

`MAY_IMPORT` is the picture in the document as a table: the longest matching prefix of a module's name is its room, and
a room may import from the rooms named beside it (and from itself). `PURE` rooms take bytes or values and give them
back: they may not reach for the world. `OWNERS` names the only rooms that may know a third-party library.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

NFSD_WIRE = ("nfsd.xdr", "nfsd.errors", "nfsd.limits")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    # nfsd: server -> procedures, mount3 -> handles, exports -> vfs; procedures -> nfs3, rpc -> xdr -> errors, limits
    "nfsd": ("nfsd",),  # the public names
    "nfsd.__main__": ("nfsd",),
    "nfsd.cli": ("nfsd",),
    "nfsd.errors": (),
    "nfsd.limits": (),
    "nfsd.xdr": ("nfsd.errors", "nfsd.limits"),
    "nfsd.rpc": NFSD_WIRE,
    "nfsd.nfs3": NFSD_WIRE,
    "nfsd.mount3.types": NFSD_WIRE,
    "nfsd.mount3": (
        *NFSD_WIRE,
        "nfsd.mount3.types",
        "nfsd.rpc",
        "nfsd.nfs3",
        "nfsd.handles",
        "nfsd.exports",
        "nfsd.vfs",
    ),
    "nfsd.probe": (*NFSD_WIRE, "nfsd.rpc", "nfsd.nfs3", "nfsd.mount3.types"),
    "nfsd.vfs": ("nfsd.limits",),
    "nfsd.handles": ("nfsd.errors", "nfsd.limits", "nfsd.nfs3.const", "nfsd.vfs"),
    "nfsd.exports": ("nfsd.errors", "nfsd.limits", "nfsd.nfs3.const", "nfsd.handles", "nfsd.vfs"),
    "nfsd.procedures": (*NFSD_WIRE, "nfsd.rpc", "nfsd.nfs3", "nfsd.handles", "nfsd.exports", "nfsd.vfs"),
    "nfsd.server": (
        *NFSD_WIRE,
        "nfsd.rpc",
        "nfsd.nfs3",
        "nfsd.procedures",
        "nfsd.mount3",
        "nfsd.exports",
        "nfsd.handles",
        "nfsd.vfs",
    ),
    # aegis: daemon -> all; api -> services, ports, domain; adapters -> ports, domain; services -> ports, domain
    "aegis": ("aegis",),
    "aegis.__main__": ("aegis.cli",),
    "aegis.daemon": ("aegis",),
    "aegis.version": (),
    "aegis.errors": (),
    "aegis.ids": (),
    "aegis.logs": ("aegis.errors",),
    "aegis.metrics": ("aegis.ports",),
    "aegis.ports": ("aegis.errors", "aegis.domain"),
    "aegis.domain": ("aegis.ids",),
    "aegis.documents": ("aegis.domain", "aegis.errors", "aegis.ids"),
    "aegis.config": ("aegis.documents", "aegis.domain", "aegis.errors", "aegis.ids"),
    "aegis.services": ("aegis.ports", "aegis.domain", "aegis.errors", "aegis.ids"),
    "aegis.api": ("aegis.services", "aegis.ports", "aegis.domain", "aegis.documents", "aegis.errors", "aegis.ids"),
    "aegis.cli": (
        "aegis.version",
        "aegis.cli.config",
        "aegis.cli.daemon",
        "aegis.cli.demo",
        "aegis.documents",
        "aegis.config",
        "aegis.replay",
        "aegis.errors",
        "aegis.ids",
    ),
    "aegis.replay": ("aegis.services", "aegis.ports", "aegis.domain", "aegis.errors"),
    "aegis.cli.config": ("aegis.cli", "aegis.daemon", "aegis.documents", "aegis.config", "aegis.errors"),
    "aegis.cli.daemon": ("aegis.cli", "aegis.daemon", "aegis.documents", "aegis.config", "aegis.errors"),
    "aegis.cli.demo": ("aegis.cli", "aegis.daemon", "aegis.config", "aegis.domain", "aegis.errors"),
    "aegis.bootstrap": (),
    "aegis.smcp_client": (),  # one file, to be copied into containers
    "aegis.adapters": (),
    "aegis.adapters.docker": ("aegis.ports", "aegis.domain", "aegis.errors", "aegis.ids"),
    "aegis.adapters.store": ("aegis.ports", "aegis.domain", "aegis.errors", "aegis.ids"),
    "aegis.adapters.llm": ("aegis.ports", "aegis.domain", "aegis.errors", "aegis.ids"),
    "aegis.adapters.mcp": ("aegis.ports", "aegis.domain", "aegis.errors", "aegis.ids", "aegis.version"),
    "aegis.adapters.nfs": ("aegis.ports", "aegis.domain", "aegis.errors", "aegis.ids", "nfsd"),
    "aegis.adapters.proxy": ("aegis.ports", "aegis.domain", "aegis.errors", "aegis.ids"),
    "aegis.adapters.secrets": ("aegis.errors",),
    "aegis.adapters.signing": ("aegis.ports", "aegis.errors"),
    "aegis.adapters.web": ("aegis.errors",),
    "aegis.adapters.systemd": ("aegis.errors",),
}

PURE = ("nfsd.xdr", "nfsd.errors", "nfsd.limits", "nfsd.rpc", "nfsd.nfs3", "nfsd.mount3.types", "aegis.domain")
WORLD = {"asyncio", "socket", "os", "time", "random", "threading", "subprocess", "select", "selectors", "pathlib"}

OWNERS: dict[str, tuple[str, ...]] = {
    "aiodocker": ("aegis.adapters.docker",),
    "sqlalchemy": ("aegis.adapters.store",),
    "alembic": ("aegis.adapters.store",),
    "asyncpg": ("aegis.adapters.store",),
    "aiosqlite": ("aegis.adapters.store",),
    "openai": ("aegis.adapters.llm",),
    "anthropic": ("aegis.adapters.llm",),
    "h11": ("aegis.adapters.proxy",),
    "aiohappyeyeballs": ("aegis.adapters.proxy",),
    "httpx": ("aegis.adapters.llm",),
    "cryptography": ("aegis.adapters.signing", "aegis.smcp_client"),
    "jwt": ("aegis.adapters.signing",),
    "hvac": ("aegis.adapters.secrets",),
    "requests": ("aegis.adapters.secrets",),
    "mcp": ("aegis.adapters.mcp",),
    "anyio": ("aegis.adapters.mcp",),
    "typer": ("aegis.cli",),
    "rich": ("aegis.cli",),
}


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    for package in ("nfsd", "aegis"):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str) -> str:
    return max((room for room in MAY_IMPORT if inside(module, room)), key=len)


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            # `from nfsd import limits` imports nfsd.limits, not the whole of nfsd
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in MAY_IMPORT else base


def violations(root: Path) -> list[str]:
    found = []
    for module, path in modules(root):
        room = room_of(module)
        allowed = MAY_IMPORT[room]
        for line, name in imports(path, module):
            where = f"{path.relative_to(root)}:{line}"
            top = name.partition(".")[0]
            if top in ("nfsd", "aegis"):
                target = room_of(name)
                if target != room and not any(inside(name, other) for other in allowed):
                    found.append(f"{where}: {room} may not import {name}")
            elif top in WORLD and any(inside(module, pure) for pure in PURE):
                found.append(f"{where}: {module} is pure and may not import {name}")
            elif top in OWNERS and not any(inside(module, owner) for owner in OWNERS[top]):
                found.append(f"{where}: only {', '.join(OWNERS[top])} may know {top}")
            elif inside(module, "nfsd") and top not in sys.stdlib_module_names and top not in ("uvloop", "xdrlib3"):
                found.append(f"{where}: nfsd needs the standard library only, not {top}")
    return found


def test_every_import_stays_within_its_layer() -> None:
    assert violations(ROOT) == []


def test_files_hold_one_idea() -> None:
    """Past 400 lines a file holds two ideas (STYLE); the bound here leaves room for the last paragraph."""
    long = [f"{path.relative_to(ROOT)}: {n}" for _, path in modules(ROOT) if (n := path.read_text().count("\n")) > 420]
    assert long == []


@pytest.mark.parametrize(
    ("module", "statement", "complaint"),
    [
        ("nfsd/rpc/planted.py", "import asyncio", "is pure and may not import asyncio"),
        ("nfsd/vfs/planted.py", "from nfsd.nfs3 import const", "nfsd.vfs may not import nfsd.nfs3"),
        ("nfsd/vfs/planted.py", "import aegis.errors", "nfsd.vfs may not import aegis.errors"),
        ("nfsd/server/planted.py", "import aiohttp", "nfsd needs the standard library only"),
        ("aegis/services/planted.py", "from ..adapters import docker", "may not import aegis.adapters"),
        ("aegis/services/planted.py", "import nfsd", "aegis.services may not import nfsd"),
        ("aegis/adapters/llm/planted.py", "import aegis.adapters.store", "may not import aegis.adapters.store"),
        ("aegis/api/planted.py", "import sqlalchemy", "only aegis.adapters.store may know sqlalchemy"),
        ("aegis/domain/planted.py", "from os import path", "is pure and may not import os"),
    ],
)
def test_a_broken_layer_is_found(tmp_path: Path, module: str, statement: str, complaint: str) -> None:
    planted = tmp_path / module
    planted.parent.mkdir(parents=True)
    planted.write_text(statement + "\n")
    assert [line for line in violations(tmp_path) if complaint in line]
