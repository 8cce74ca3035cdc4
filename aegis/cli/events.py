"""An execution's events as lines for people: what `task logs` and `task execute` show.

An event this table does not know is shown by its kind and data, so a newer daemon loses nothing on an older command
line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from aegis.cli.output import bar, clean, size
from aegis.cli.running import Running

Event = dict[str, Any]
Line = tuple[str, str]  # text, style

PASSING = frozenset({"image.progress"})  # of interest until the next event
OUTPUT_LINES_MAX = 20  # of one command's output in the live view
REASON_LINES_MAX = 8  # of a validator's reason
LINE_CHARACTERS_MAX = 200


def describe(event: Event, running: Running | None = None) -> Iterator[Line]:
    """The lines of one event, cleaned for a terminal. `running` remembers what a command's output has shown already;
    without it that output comes with its result alone."""
    kind = event["kind"]
    if running is not None and kind in OF_COMMANDS:
        event = {**event, "data": OF_COMMANDS[kind](running, event.get("data") or {})}
    # What the gateway saw of files is the timeline's; the live view has the tools' and commands' own words.
    shown = KINDS.get(kind, _quiet if kind.startswith("file.") else _plain)
    for text, style in shown(event, event.get("data") or {}):
        yield clean(text), style


def _plain(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    yield f"  {event['kind']} {_compact(data)}".rstrip(), "dim"


def _compact(data: dict[str, Any]) -> str:
    return " ".join(f"{key}={_short(value)}" for key, value in data.items() if value not in (None, "", [], {}))


def _short(value: Any, characters_max: int = 120) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= characters_max else text[: characters_max - 3] + "..."


def _iteration_started(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    yield f"iteration {event['iteration']}", "bold"


def _quiet(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    yield from ()


def _created(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    """Where it stands, if it does not run at once."""
    if "ahead" in data:
        yield f"waiting for its turn, {data['ahead']} others before it", "dim"


def _progress(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    done, total = (
        value if isinstance(value, int) else 0 for value in (data.get("bytes_done"), data.get("bytes_total"))
    )
    of = f" of {size(total)}" if total else ""
    yield f"  pulling {data.get('image', '')} {bar(done, total)} {size(done)}{of}", "dim"


def _said(template: str, style: str = "") -> Callable[[Event, dict[str, Any]], Iterator[Line]]:
    """A line from the event's data; what is missing is shown as `?`."""

    def lines(event: Event, data: dict[str, Any]) -> Iterator[Line]:
        known = {key: _short(value) for key, value in data.items()}
        yield template.format_map(_Known({**known, "iteration": event.get("iteration")})), style

    return lines


class _Known(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


def _tool_called(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    tool, arguments = data.get("name") or "tool", data.get("arguments") or {}
    if tool == "cmd.run" and isinstance(arguments, dict):
        parts = [arguments.get("command", ""), *(arguments.get("args") or [])]
        yield "  $ " + _short(" ".join(map(str, parts)), LINE_CHARACTERS_MAX), "cyan"
    else:
        shown = arguments.get("path") if isinstance(arguments, dict) else None
        yield f"  {tool} {_short(shown if shown is not None else arguments)}", "cyan"


def _model_called(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    """What it said; what it called is shown as it is done."""
    if data.get("content"):
        yield f"  model: {_short(data['content'], LINE_CHARACTERS_MAX)}", ""


def _model_failed(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    """The last failure comes without a pause: nothing more is tried."""
    pause = data.get("retry_in_seconds")
    again = f"; trying again in {pause} s" if pause is not None else ""
    yield f"  the model failed: {_short(data.get('error') or '?', 400)}{again}", "red"


def _dispatch_completed(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    """The output's last lines: where a traceback says what it is about."""
    output = str(data.get("stdout") or "") + str(data.get("stderr") or "")
    lines = output.rstrip("\n").split("\n") if output.strip() else []
    if len(lines) > OUTPUT_LINES_MAX:
        yield f"    ({len(lines) - OUTPUT_LINES_MAX} lines left out)", "dim"
    for line in lines[-OUTPUT_LINES_MAX:]:
        yield "    " + line[:LINE_CHARACTERS_MAX], ""
    code = data.get("exit_code")
    if code not in (0, None):
        yield f"    exit code {code}", "yellow"


def _network_allowed(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    """The decision when it is made, and the bytes when they are told."""
    where = f"  network {_short(data.get('host', '?'))}:{_short(data.get('port', '?'))}"
    sent, received = data.get("bytes_sent"), data.get("bytes_received")
    if isinstance(sent, int) and isinstance(received, int):
        yield f"{where}: {size(sent)} sent, {size(received)} received", "dim"
    else:
        yield where, "dim"


def _judged(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    """The reason's first line beside the verdict, and of what a script printed the end: there it says why."""
    passed = bool(data.get("passed"))
    style = "green" if passed else "yellow"
    verdict = "passed" if passed else "not passed"
    if data.get("score") not in (0, 1, None):
        verdict += f" (score {_number(data['score'])}, confidence {_number(data.get('confidence'))})"
    first, *rest = str(data.get("reason") or "").rstrip().split("\n")
    because = f": {_short(first, LINE_CHARACTERS_MAX)}" if first else ""
    yield f"  validator {data.get('validator', '?')}: {verdict}{because}", style
    for line in rest[-REASON_LINES_MAX:]:
        yield "    " + line[:LINE_CHARACTERS_MAX], style


def _judge(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    """One judge's opinion, and what it cost."""
    scores = f"score {_number(data.get('score'))}, confidence {_number(data.get('confidence'))}"
    tokens = f"{data.get('input_tokens') or 0}+{data.get('output_tokens') or 0} tokens"
    because = _short(data.get("reasoning") or "", LINE_CHARACTERS_MAX)
    yield f"  judge {data.get('judge', '?')}: {scores} ({tokens}): {because}", ""


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "?"


def _ended(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    reason = data.get("error") or data.get("reason") or data.get("detail")
    style = {"execution.completed": "green", "execution.failed": "red"}.get(event["kind"], "yellow")
    yield event["kind"].replace(".", " ") + (f": {_short(reason, 400)}" if reason else ""), style


def resumed(data: dict[str, Any]) -> str:
    """How an iteration goes on."""
    return {
        "left": "its container is waited for",
        "ended": "its answer is judged",
    }.get(str(data.get("container")), f"begun anew, {_short(data.get('reason') or '?')}")


def _iteration_resumed(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    yield f"iteration {event['iteration']} goes on after a restart of the daemon: {resumed(data)}", "yellow"


def _iteration_failed(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    reason = data.get("error") or data.get("reason") or ""
    yield f"iteration {event['iteration']} failed: {_short(reason, 400)}".rstrip(": "), "red"


def _with_lines(running: Running, data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "lines": running.lines(data)}


def _with_rest(running: Running, data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "stdout": running.rest(data), "stderr": ""}


OF_COMMANDS = {"dispatch.output": _with_lines, "dispatch.completed": _with_rest}


def _dispatch_output(event: Event, data: dict[str, Any]) -> Iterator[Line]:
    for line in data.get("lines") or ():
        yield "    " + line[:LINE_CHARACTERS_MAX], ""


KINDS: dict[str, Callable[[Event, dict[str, Any]], Iterator[Line]]] = {
    "execution.created": _created,
    "execution.started": _quiet,
    "execution.resumed": _quiet,
    "execution.ending": _quiet,
    "execution.completed": _ended,
    "execution.failed": _ended,
    "execution.cancelled": _ended,
    "iteration.started": _iteration_started,
    "iteration.refining": _said("iteration {iteration}: not there yet, refining", "yellow"),
    "iteration.succeeded": _said("iteration {iteration}: passed", "green"),
    "iteration.failed": _iteration_failed,
    "iteration.resumed": _iteration_resumed,
    "iteration.retried": _said("  {error}; trying again in {retry_in_seconds} s", "yellow"),
    "image.pulling": _said("  pulling {image}", "dim"),
    "image.progress": _progress,
    "image.pulled": _said("  image {image} is there", "dim"),
    "image.failed": _said("  image {image}: {error}; trying again in {retry_in_seconds} s", "yellow"),
    "container.created": _quiet,
    "container.started": _said("  container {name} started", "dim"),
    "container.exited": _said("  container exited with {exit_code}", "dim"),
    "container.killed": _said("  container killed: {reason}", "yellow"),
    "container.removed": _said("  container {name} removed", "dim"),
    "dispatch.sent": _quiet,
    "dispatch.output": _dispatch_output,
    "dispatch.completed": _dispatch_completed,
    "tool.called": _tool_called,
    "tool.allowed": _quiet,
    "tool.completed": _quiet,
    "tool.denied": _said("  denied: {reason}", "yellow"),
    "model.called": _model_called,
    "model.failed": _model_failed,
    "model.fallback": _said("  model {alias} is given up, {fallback} answers: {error}", "yellow"),
    "volume.created": _quiet,
    "volume.attached": _said("  volume {name} attached at {mount_path}", "dim"),
    "volume.detached": _quiet,
    "volume.deleted": _quiet,
    "judge.started": _said("  judge {judge}: execution {execution_id}", "dim"),
    "judge.answered": _judge,
    "judge.unusable": _said("  judge {judge}: its answer cannot be used: {reason}", "yellow"),
    "judge.failed": _said("  judge failed: {error}", "red"),
    "validator.judged": _judged,
    "network.allowed": _network_allowed,
    "network.denied": _said("  network refused: {host}:{port}: {reason}", "yellow"),
    "network.failed": _said("  network failed: {host}:{port}: {reason}", "yellow"),
    "file.denied": _said("  refused: {operation} {path}: {error}", "yellow"),
    "file.failed": _said("  failed: {operation} {path}: {error}", "yellow"),
}
