"""May this call be made, by this context? A pure question: what the call touches against the context's lists.

The rule to know: a list that cannot judge a call does not allow it. A capability with a path list allows calls whose
tool says which files they touch; `cmd.run` cannot say it, so no path list ever seems to hold for commands. The same
for domains and commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aegis.domain.contexts import Capability, SecurityContext
from aegis.domain.globs import matches
from aegis.domain.hosts import WEB_PORTS, first_match, url_host, url_port
from aegis.domain.policy import ANYTHING_BELOW, paths_below, tool_allowed

ANY_ARGUMENTS = "*"
_SHOWN_MAX = 20  # names in one refusal


@dataclass(frozen=True, slots=True)
class FileUse:
    """A path as the container sees it, absolute and normal. `below`: with everything below it."""

    path: str
    below: bool = False


@dataclass(frozen=True, slots=True)
class Touched:
    """What one call would touch, as far as its tool knows before it runs. Nothing said: the tool does not know."""

    reads: tuple[FileUse, ...] = ()
    writes: tuple[FileUse, ...] = ()
    urls: tuple[str, ...] = ()
    command: tuple[str, ...] = ()  # argv


@dataclass(frozen=True, slots=True)
class Judged:
    """`allowing`: the capabilities that allow the call, by their numbers; none: `refusal` says why, for the model, and
    `rule` what decided, for the event."""

    allowing: tuple[int, ...] = ()
    refusal: str = ""
    rule: str = ""


def judge_name(context: SecurityContext, tool: str) -> Judged:
    """By the tool's name alone; allowed means that some arguments may be."""
    denied = next((pattern for pattern in context.deny if tool_allowed([pattern], tool)), None)
    if denied is not None:
        why = f"the security context {context.name} denies {tool}"
        return Judged(refusal=why, rule=f"{context.name}.deny_list ({denied})")
    numbers = tuple(n for n, each in enumerate(context.capabilities) if tool_allowed([each.tool_pattern], tool))
    if not numbers:
        known = _shown(each.tool_pattern for each in context.capabilities)
        why = f"the security context {context.name} does not allow {tool} (it allows: {known})"
        return Judged(refusal=why, rule=f"{context.name}: no capability")
    return Judged(numbers)


def judge(context: SecurityContext, tool: str, touched: Touched, mount_paths: Sequence[str]) -> Judged:
    """By everything but rates. ValueError: an URL that names no certain host."""
    named = judge_name(context, tool)
    refusals: dict[int, str] = {}
    for number in named.allowing:
        refusal = _refusal(context.capabilities[number], tool, touched, mount_paths)
        if refusal:
            refusals[number] = refusal
    allowing = tuple(number for number in named.allowing if number not in refusals)
    if allowing or not named.allowing:
        return Judged(allowing, named.refusal, named.rule)
    rules = ", ".join(rule_of(context, number) for number in refusals)
    why = "; and ".join(dict.fromkeys(refusals.values()))
    return Judged(refusal=f"{why} (security context {context.name})", rule=rules)


def rule_of(context: SecurityContext, number: int) -> str:
    """How events name a capability."""
    return f"{context.name}.capabilities[{number}] ({context.capabilities[number].tool_pattern})"


def _refusal(capability: Capability, tool: str, touched: Touched, mount_paths: Sequence[str]) -> str:
    return (
        _files_refusal(capability, tool, touched, mount_paths)
        or _domains_refusal(capability.domains, tool, touched.urls)
        or _command_refusal(capability.commands, tool, touched.command)
    )


def _files_refusal(capability: Capability, tool: str, touched: Touched, mount_paths: Sequence[str]) -> str:
    lists = capability.filesystem
    if lists.read is None and lists.write is None:
        return ""
    if not touched.reads and not touched.writes:
        return f"{tool} is allowed for listed paths only, and which files it uses cannot be known"
    for patterns, uses, word in ((lists.read, touched.reads, "read"), (lists.write, touched.writes, "written")):
        for use in uses:
            if patterns is not None and not path_allowed(patterns, use, mount_paths):
                what = f"everything below {use.path}" if use.below else use.path
                return f"{what} may not be {word} by {tool} (allowed: {_shown(patterns)})"
    return ""


def path_allowed(patterns: Sequence[str], use: FileUse, mount_paths: Sequence[str]) -> bool:
    """With the meaning of `security.filesystem`: relative to the volume the path is on; the mount itself means all of
    it. A whole tree is allowed by a pattern that ends in `**`."""
    mounts = [mount for mount in mount_paths if use.path == mount or use.path.startswith(mount.rstrip("/") + "/")]
    if not mounts:
        return False
    mount = max(mounts, key=len)
    relative = use.path[len(mount) :].lstrip("/")
    return any(
        matches(pattern, relative) and (not use.below or pattern.split("/")[-1] == ANYTHING_BELOW)
        for pattern in paths_below(patterns, mount) or ()
    )


def _domains_refusal(domains: Sequence[str] | None, tool: str, urls: Sequence[str]) -> str:
    if domains is None:
        return ""
    if not urls:
        return f"{tool} is allowed for listed domains only, and this call names none"
    for url in urls:
        host, port = url_host(url), url_port(url)
        if first_match(domains, host, port, ports=WEB_PORTS) is None:
            at = "" if port in WEB_PORTS else f" on port {port}"
            return f"the host {host}{at} is not allowed to {tool} (allowed: {_shown(domains)})"
    return ""


def _command_refusal(commands: dict[str, tuple[str, ...]] | None, tool: str, argv: Sequence[str]) -> str:
    """Exact words only: `/usr/bin/git push`, `env git push` and `git -C x push` are not `git push`."""
    if commands is None:
        return ""
    if not argv:
        return f"{tool} is allowed for listed commands only, and this call runs none"
    program, arguments = argv[0], argv[1:]
    if program not in commands:
        return f"the command {program!r:.200} is not allowed (allowed, as they are written: {_shown(commands)})"
    first = commands[program]
    if ANY_ARGUMENTS in first or (arguments and arguments[0] in first) or (not arguments and not first):
        return ""
    found = f"with the first argument {arguments[0]!r:.200}" if arguments else "without arguments"
    wanted = f"with one of these first: {_shown(first)}" if first else "without arguments"
    return f"the command {program} is not allowed {found}, only {wanted}"


def _shown(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN_MAX} more" if len(listed) > _SHOWN_MAX else ""
    return (", ".join(listed[:_SHOWN_MAX]) or "none") + more
