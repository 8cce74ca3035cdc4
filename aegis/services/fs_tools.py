"""`fs.*`: the agent's files, handled by the daemon on the volumes themselves, without a command in the container.

Paths are as in the container. Everything goes through `Workspaces`, so policy, quota and audit are NFS's own. What a
call touches (for the security contexts) is said beside each tool; symlinks are followed by none, so a path is the file.
"""

from __future__ import annotations

import posixpath
import re
from itertools import takewhile
from typing import Annotated, Final

from pydantic import Field

from aegis.domain.capabilities import FileUse, Touched
from aegis.domain.globs import matches
from aegis.errors import Conflict, Denied, NotFound, Refused
from aegis.services.judging.jobs import JobFailed, Jobs
from aegis.services.tools import Arguments, Tool, ToolContext
from aegis.services.workspaces import Workspaces

READ_BYTES_MAX: Final = 1024 * 1024
WRITE_CHARACTERS_MAX: Final = 4 * 1024 * 1024
LISTED_MAX: Final = 1000
GREP_FILES_MAX: Final = 2000
GREP_BYTES_MAX: Final = 16 * 1024 * 1024  # of all files of one search together
GREP_LINES_MAX: Final = 200
_WILD = re.compile(r"[*?\[]")

Path = Annotated[str, Field(min_length=1, max_length=4096, description="A path as in the container")]
Text = Annotated[str, Field(max_length=WRITE_CHARACTERS_MAX)]


class PathArguments(Arguments):
    path: Path


class WriteArguments(Arguments):
    path: Path
    content: Annotated[Text, Field(description="The whole new content")]


class EditArguments(Arguments):
    path: Path
    old: Annotated[Text, Field(min_length=1, description="Text that stands in the file exactly once")]
    new: Annotated[Text, Field(description="What takes its place")]


class GrepArguments(Arguments):
    pattern: Annotated[str, Field(min_length=1, max_length=2000, description="A Python regular expression")]
    path: Annotated[str | None, Field(description="A directory or file; left out: the workspace")] = None


class GlobArguments(Arguments):
    pattern: Annotated[str, Field(min_length=1, max_length=1000, description="For example `**/*.py`")]


async def read(arguments: PathArguments, context: ToolContext) -> str:
    content = await context.files.read(arguments.path, bytes_max=READ_BYTES_MAX)
    return content.decode("utf-8", "replace")


async def write(arguments: WriteArguments, context: ToolContext) -> str:
    """Directories on the way are made: a model that writes `src/main.py` means that."""
    content = arguments.content.encode()
    workspace, relative = context.files.locate(arguments.path)
    try:
        await workspace.write(relative, content)
    except NotFound:
        await _make_directories(context.files, posixpath.dirname(context.files.absolute(arguments.path)))
        await workspace.write(relative, content)
    return f"wrote {len(content)} bytes to {context.files.absolute(arguments.path)}"


async def edit(arguments: EditArguments, context: ToolContext) -> str:
    workspace, relative = context.files.locate(arguments.path)
    content = await workspace.read(relative, bytes_max=READ_BYTES_MAX + 1)
    if len(content) > READ_BYTES_MAX:
        raise Refused(f"{arguments.path} is longer than {READ_BYTES_MAX} bytes: change it with cmd.run")
    old = arguments.old.encode()
    count = content.count(old)
    if count != 1:
        raise Refused(f"`old` stands {count} times in {arguments.path}, it has to be exactly once")
    await workspace.write(relative, content.replace(old, arguments.new.encode()))
    return f"changed {context.files.absolute(arguments.path)}"


async def list_directory(arguments: PathArguments, context: ToolContext) -> str:
    workspace, relative = context.files.locate(arguments.path)
    entries = sorted(await workspace.list(relative), key=lambda entry: entry.name)
    lines = [f"{entry.kind:9} {entry.size_bytes:>12} {entry.name}" for entry in entries[:LISTED_MAX]]
    return _listing(lines, len(entries), "the directory is empty")


async def glob(arguments: GlobArguments, context: ToolContext) -> str:
    pattern = context.files.absolute(arguments.pattern)
    found = []
    for mount in context.files.mount_paths:
        async for path, entry in context.files.walk(mount):
            if matches(pattern, path):
                found.append(path + ("/" if entry.kind == "directory" else ""))
    return _listing(sorted(found)[:LISTED_MAX], len(found), f"nothing matches {pattern}")


async def make_directory(arguments: PathArguments, context: ToolContext) -> str:
    await _make_directories(context.files, context.files.absolute(arguments.path))
    return f"{context.files.absolute(arguments.path)} is there"


async def delete(arguments: PathArguments, context: ToolContext) -> str:
    workspace, relative = context.files.locate(arguments.path)
    if not relative:
        raise Denied(f"{arguments.path} is where a volume is mounted and cannot be deleted")
    await workspace.delete(relative, recursive=True)
    return f"deleted {context.files.absolute(arguments.path)}"


class Grep:
    """Its patterns come from a model: they run in a process of their own (`judging.worker`)."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def __call__(self, arguments: GrepArguments, context: ToolContext) -> str:
        path = context.files.absolute(arguments.path or context.files.working_directory)
        texts, complete = await self._texts(context.files, path)
        try:
            lines, more = await self._jobs.lines(arguments.pattern, texts, lines_max=GREP_LINES_MAX)
        except JobFailed as error:
            raise Refused(f"the search came to no end: {error}") from None
        shown = [f"{name}:{number}:{line}" for name, number, line in lines]
        if more:
            shown.append(f"(and more: only the first {GREP_LINES_MAX} lines are shown)")
        if not complete:
            shown.append("(not everything was searched: too many files or too much text; name a smaller directory)")
        return "\n".join(shown) or f"nothing in {path} matches {arguments.pattern}"

    async def _texts(self, files: Workspaces, path: str) -> tuple[list[tuple[str, str]], bool]:
        """The text files below `path` (or the file it is), as far as the bounds go, and whether that was all."""
        workspace, relative = files.locate(path)
        if relative and (await workspace.stat(relative)).kind == "file":
            return [(path, _text(await workspace.read(relative, bytes_max=READ_BYTES_MAX)))], True
        texts: list[tuple[str, str]] = []
        room = GREP_BYTES_MAX
        async for name, entry in files.walk(path):
            if entry.kind != "file" or entry.size_bytes > READ_BYTES_MAX:
                continue
            if len(texts) == GREP_FILES_MAX or entry.size_bytes > room:
                return texts, False
            try:
                content = await files.read(name, bytes_max=READ_BYTES_MAX)
            except (NotFound, Denied):
                continue
            if b"\0" not in content[:8192]:  # a binary file has no lines to show
                texts.append((name, _text(content)))
                room -= len(content)
        return texts, True


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _listing(lines: list[str], count: int, nothing: str) -> str:
    if count > len(lines):
        lines = [*lines, f"(and {count - len(lines)} more)"]
    return "\n".join(lines) or nothing


async def _make_directories(files: Workspaces, path: str) -> None:
    """Like `mkdir -p`. The mount point itself is there."""
    workspace, relative = files.locate(path)
    made = ""
    for part in relative.split("/") if relative else []:
        made = f"{made}/{part}" if made else part
        try:
            await workspace.make_directory(made)
        except Conflict:
            if (await workspace.stat(made)).kind != "directory":
                raise


def _reads(arguments: PathArguments, context: ToolContext) -> Touched:
    return Touched(reads=(FileUse(context.files.absolute(arguments.path)),))


def _writes(arguments: PathArguments | WriteArguments, context: ToolContext) -> Touched:
    return Touched(writes=(FileUse(context.files.absolute(arguments.path)),))


def _edits(arguments: EditArguments, context: ToolContext) -> Touched:
    use = (FileUse(context.files.absolute(arguments.path)),)
    return Touched(reads=use, writes=use)


def _searches(arguments: GrepArguments, context: ToolContext) -> Touched:
    """Also for a path that turns out to be a file: whether it is one is not looked up before it may be."""
    path = context.files.absolute(arguments.path or context.files.working_directory)
    return Touched(reads=(FileUse(path, below=True),))


def _finds(arguments: GlobArguments, context: ToolContext) -> Touched:
    """Everything below the part of the pattern that is no pattern yet, on each volume that is mounted there."""
    pattern = context.files.absolute(arguments.pattern)
    parts = list(takewhile(lambda part: not _WILD.search(part), pattern.split("/")))
    start = "/".join(parts) or "/"
    if start == pattern:
        return Touched(reads=(FileUse(start),))
    mounts = [mount for mount in context.files.mount_paths if mount.startswith(start.rstrip("/") + "/")]
    within = [start] if context.files.is_mounted(start) or not mounts else []
    return Touched(reads=tuple(FileUse(path, below=True) for path in [*within, *mounts]))


def _deletes(arguments: PathArguments, context: ToolContext) -> Touched:
    return Touched(writes=(FileUse(context.files.absolute(arguments.path), below=True),))


def fs_tools(jobs: Jobs) -> list[Tool]:
    return [
        Tool("fs.read", "Read a text file.", PathArguments, read, _reads),
        Tool("fs.write", "Write a file, replacing it; missing directories are made.", WriteArguments, write, _writes),
        Tool("fs.edit", "Replace one piece of text in a file.", EditArguments, edit, _edits),
        Tool("fs.list", "List a directory: kind, size in bytes, name.", PathArguments, list_directory, _reads),
        Tool("fs.grep", "Find lines by a regular expression, below a directory.", GrepArguments, Grep(jobs), _searches),
        Tool("fs.glob", "Find files by name; `**` is any number of directories.", GlobArguments, glob, _finds),
        Tool("fs.create_dir", "Make a directory and those above it.", PathArguments, make_directory, _writes),
        Tool("fs.delete", "Delete a file, or a directory with everything in it.", PathArguments, delete, _deletes),
    ]
