"""A Python with the project in it that an ordinary user can run, wherever the checkout lies.

The tests run the servers as a user that is not the owner of the checkout. Where that user can walk to the checkout
and to the virtual environment, they are used as they are; where he cannot (a home directory with mode 0700, a strict
umask), what is needed is copied. The same copy is what goes into the all-in-one guest, where none of this machine's
files are.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import os
import py_compile
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from integration.lab.state import PROJECT, readable_by_anybody

SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = ("aegis", "nfsd")
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)([^;]*)(;.*)?$")


@dataclass(frozen=True)
class UserPython:
    """How to start Python as an ordinary user: `[*argv, "-m", ...]` with `env` added and `cwd` as directory."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


def user_python(scratch: Path) -> UserPython:
    """This very Python with this checkout where any user can read both; else copies of both below `scratch`."""
    python = Path(sys.executable)
    places = [python, python.resolve(), Path(sysconfig.get_path("purelib")), *(PROJECT / name for name in PACKAGES)]
    if all(readable_by_anybody(place) for place in places):
        return UserPython((str(python),), {"PYTHONPATH": str(PROJECT)}, "/")
    code, libraries = scratch / "code", scratch / "libraries"
    if not code.exists():
        stage_libraries(libraries)
        stage_code(code)
    return UserPython((SYSTEM_PYTHON,), {"PYTHONPATH": f"{code}:{libraries}"}, "/")


def stage_code(target: Path) -> None:
    """Copy the project's packages, readable by all, compiled here (an emulated guest would take long over it)."""
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(
        target, quiet=2, stripdir=str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    _open_to_all(target)


def stage_libraries(target: Path) -> None:
    """Copy the distributions the project needs at run time, and only those, from where this Python has them."""
    for distribution in runtime_distributions():
        for file in distribution.files or ():
            source = Path(str(file.locate()))
            if file.parts[0] == ".." or not source.is_file():
                continue  # a script in bin/, or a .pyc that was never written
            destination = target / file
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)
    compileall.compile_dir(
        target, quiet=2, stripdir=str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        workers=os.cpu_count() or 1,
    )  # fmt: skip
    _open_to_all(target)


def library_versions() -> str:
    """`name==version` of what `stage_libraries` copies, for cache keys."""
    return "\n".join(sorted(f"{found.name}=={found.version}" for found in runtime_distributions()))


def runtime_distributions() -> list[importlib.metadata.Distribution]:
    """The closure of the project's own requirements that is installed here, uvloop included where present."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = ["aegis", "uvloop"]
    while todo:
        name = _canonical(todo.pop())
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required on other Pythons or platforms only, or an extra we did not ask for
        todo.extend(_required(found[name]))
    del found["aegis"]
    return list(found.values())


def _required(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    for line in distribution.requires or ():
        match = _REQUIREMENT.match(line.replace(" ", ""))
        if match and "extra==" not in (match[3] or ""):
            yield re.split(r"[<>=!~\[(]", match[1] + match[2])[0]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _open_to_all(top: Path) -> None:
    for directory, _names, files in os.walk(top):
        os.chmod(directory, 0o755)
        for name in files:
            path = Path(directory, name)
            path.chmod(path.stat().st_mode | 0o444)
