"""Security contexts as manifests and the node's configuration write them: the same rows, derived values and checks.

The rule to know: where something restricts, a slip must not open it. A list that is there with nothing after it
(`domain_allowlist:`) is refused, an empty mapping allows nothing, and a list that could hold for none of a
capability's tools is a mistake.
"""

from __future__ import annotations

import posixpath

from aegis.documents.names import HOST, NAME, PATH_PATTERN
from aegis.documents.nodes import Mapping, Node, is_null
from aegis.documents.problems import Note, Path, show_path
from aegis.documents.readers import INTEGER, TEXT, Mistake, Reader, list_of, matching, text
from aegis.documents.table import Dialect, Field, Reading, Said
from aegis.domain.capabilities import ANY_ARGUMENTS
from aegis.domain.policy import tool_allowed

TOOL_PATTERN = matching(r"[A-Za-z0-9_*-]+(?:[.:][A-Za-z0-9_*-]+)*", "a tool or a pattern of tools (cmd.run, fs.*)")
KNOWN_TOOLS = (
    "cmd.run",
    "fs.read",
    "fs.write",
    "fs.edit",
    "fs.list",
    "fs.grep",
    "fs.glob",
    "fs.create_dir",
    "fs.delete",
    "web.fetch",
)
_TARGET: Path = ("security_contexts",)
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh", "fish"))
_LAUNCHERS = frozenset(
    (
        *("busybox", "chroot", "doas", "env", "find", "nice", "nohup", "nsenter", "parallel", "script", "setpriv"),
        *("setsid", "ssh", "stdbuf", "su", "sudo", "time", "timeout", "toybox", "unshare", "watch", "xargs"),
    )
)


def _argument(value: str) -> str:
    if "\0" in value or not value:
        raise Mistake('an argument ("status"), or "*" for any')
    return value


def _check_command(name: str) -> None:
    wanted = "a program as it is called (git), or its absolute path"
    if not name.strip() or "\0" in name or ("/" in name and not name.startswith("/")):
        raise Mistake(wanted, found=f"the name {name[:80]!r}")
    if len(name.split()) > 1:
        raise Mistake(wanted, "arguments go into the list: {git: [status]}", found=f"the name {name[:80]!r}")


ARGUMENT: Reader = text("an argument", _argument)


def context_rows(path: str) -> tuple[Field, ...]:
    """The rows of a list of contexts at this path of a document."""
    one, where = f"{path}[]", "security_contexts[]"
    capability, its = f"{one}.capabilities[]", f"{where}.capabilities[]"
    documents = Dialect.DOCUMENTS
    return (
        Field(f"{one}.name", f"{where}.name", NAME, "The context's name; `default` holds where none is named."),
        Field(f"{one}.description", f"{where}.description", TEXT, "For people."),
        Field(f"{one}.deny_list", f"{where}.deny", list_of(TOOL_PATTERN), "Tools that are never allowed; asked first."),
        Field(f"{capability}.tool_pattern", f"{its}.tool_pattern", TOOL_PATTERN, "Which tools this allows."),
        Field(
            f"{capability}.filesystem.read",
            f"{its}.filesystem.read",
            list_of(PATH_PATTERN),
            "fs tools: what they may read; everything when left out.",
        ),
        Field(
            f"{capability}.filesystem.write",
            f"{its}.filesystem.write",
            list_of(PATH_PATTERN),
            "fs tools: what they may write; everything when left out.",
        ),
        Field(
            f"{capability}.path_allowlist",
            "~security_contexts[].capabilities[].paths",
            list_of(PATH_PATTERN),
            "As `filesystem.read` and `filesystem.write`.",
            documents,
        ),
        Field(
            f"{capability}.domain_allowlist",
            f"{its}.domains",
            list_of(HOST),
            "Tools with URLs: the hosts they may name.",
        ),
        Field(
            f"{capability}.subcommand_allowlist.*",
            f"{its}.commands.*",
            list_of(ARGUMENT),
            'cmd.run: a program, and its first arguments; `["*"]` is any, `[]` none.',
            key=_check_command,
        ),
        Field(
            f"{capability}.rate_limit.calls_per_minute",
            f"{its}.rate_limit.calls_per_minute",
            INTEGER,
            "Of all its tools together, in one execution.",
        ),
        Field(
            f"{capability}.rate_limit.calls_per_execution",
            f"{its}.rate_limit.calls_per_execution",
            INTEGER,
            "The same, in all iterations together.",
        ),
    )


def derive_contexts(reading: Reading, prefix: Path = ()) -> None:
    """`prefix`: where in the document the list is."""
    for index in reading.indices(("~security_contexts",)):
        for number in reading.indices(("~security_contexts", index, "capabilities")):
            paths = reading.said.get(("~security_contexts", index, "capabilities", number, "paths"))
            for way in ("read", "write") if paths is not None else ():
                assert paths is not None
                target = (*_TARGET, index, "capabilities", number, "filesystem", way)
                if reading.knows(target):
                    reading.problem(paths, f"either path_allowlist or filesystem.{way}", found="both of them")
                else:
                    reading.derive(target, paths.value, paths)
    for place, node in _within(reading, prefix):
        if place[-1] == "subcommand_allowlist" and isinstance(node, Mapping) and not node.entries:
            said = Said({}, place, node, f"{reading.source}:{node.line} {show_path(place)}")
            reading.said[(*place[len(prefix) :][:-1], "commands")] = said


def check_contexts(reading: Reading, prefix: Path = ()) -> None:
    for place, node in _within(reading, prefix):
        wanted = "a list" if place[-2:-1] == ("subcommand_allowlist",) else _WANTED.get(place[-1])
        empty = isinstance(node, Mapping) and not node.entries and place[-1] in ("filesystem", "rate_limit")
        if wanted is not None and (is_null(node) or empty):
            reading.nothing_there(place, node, f"{wanted}, or the key left out")
    names: dict[str, Said] = {}
    for index in reading.indices(_TARGET):
        name = reading.said.get((*_TARGET, index, "name"))
        if name and names.setdefault(name.value, name) is not name:
            reading.problem(name, f"another name than the context in line {names[name.value].node.line}")
        for number in reading.indices((*_TARGET, index, "capabilities")):
            _check_capability(reading, (*_TARGET, index, "capabilities", number))


_WANTED: dict[str | int, str] = {
    "capabilities": "a list",
    "deny_list": "a list",
    "read": "a list",
    "write": "a list",
    "filesystem": "read or write",
    "path_allowlist": "a list",
    "domain_allowlist": "a list",
    "subcommand_allowlist": "commands and their first arguments",
    "rate_limit": "calls_per_minute or calls_per_execution",
    "calls_per_minute": "a whole number",
    "calls_per_execution": "a whole number",
}


def _within(reading: Reading, prefix: Path) -> list[tuple[Path, Node]]:
    top = (*prefix, *_TARGET)
    return [(place, node) for place, node in reading.places.items() if place[: len(top)] == top]


def _check_capability(reading: Reading, target: Path) -> None:
    pattern = reading.get((*target, "tool_pattern"))
    if pattern is None:
        return
    files = any(tool_allowed([pattern], tool) for tool in KNOWN_TOOLS if tool.startswith("fs."))
    only_known = pattern.startswith("fs.") or pattern == "cmd.run"
    lists = [reading.said.get((*target, "filesystem", way)) for way in ("read", "write")]
    for paths in {paths.path: paths for paths in lists if paths is not None}.values():
        if not files:  # once: `path_allowlist` is both
            reading.problem(paths, f"no path list: no tool that {pattern} means says which files it uses")
    domains = reading.said.get((*target, "domains"))
    if domains is not None and only_known:
        hint = "what commands may reach is security.network's" if pattern == "cmd.run" else ""
        reading.problem(domains, f"no domain list: no call of {pattern} names a URL", hint)
    commands = [(path[-1], said) for path, said in reading.said.items() if path[:-1] == (*target, "commands")]
    empty = reading.said.get((*target, "commands"))
    said = empty or (commands[0][1] if commands else None)
    if said is not None and not tool_allowed([pattern], "cmd.run"):
        reading.problem(said, f"no commands: {pattern} does not mean cmd.run")
        return
    for name, each in commands:
        _check_program(reading, str(name), each)


def _check_program(reading: Reading, name: str, said: Said) -> None:
    """A program that runs others would make a list of first arguments look like what it is not."""
    program = posixpath.basename(name)
    if ANY_ARGUMENTS in said.value:
        if program in _SHELLS | _LAUNCHERS:
            text = f"{program} runs any program: with it the list of commands restricts nothing"
            reading.notes.append(Note(show_path(said.path), said.node.line, text))
    elif program in _LAUNCHERS and said.value:
        reading.problem(said, f'["*"]: {program} runs other programs, whatever its first argument is')
    elif program in _SHELLS and any(argument.startswith(("-", "+")) for argument in said.value):
        hint = f'{program} -c runs any line of commands; if that is meant, write ["*"]'
        reading.problem(said, "the names of scripts, without options", hint)
