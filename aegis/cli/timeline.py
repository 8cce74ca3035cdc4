"""What an execution did, drawn together from its events: `task timeline`. Pure: events in, values out.

Where two events are one thing (a call and its result, a command sent and done) there is one entry, with how long it
took. An event of a kind that is not known here is left out: `task logs` shows everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from aegis.cli.changes import Files
from aegis.cli.events import resumed

Event = dict[str, Any]
Data = dict[str, Any]

TEXT_CHARACTERS_MAX: Final = 300


@dataclass(slots=True)
class Entry:
    """One thing that happened. `seconds`: since the execution was made; `duration_seconds`: where it took a while;
    `ok`: False for what was refused or went wrong."""

    seconds: float
    iteration: int | None
    what: str
    text: str
    duration_seconds: float | None = None
    ok: bool = True
    data: Data = field(default_factory=dict)


@dataclass(slots=True)
class Totals:
    """Of one iteration."""

    number: int
    state: str = "running"
    model_turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    tool_calls: int = 0
    denied: int = 0
    commands: int = 0
    commands_failed: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    files_changed: int = 0
    network_allowed: int = 0
    network_denied: int = 0
    network_failed: int = 0
    network_bytes: int = 0
    judges: int = 0


class Timeline:
    """Built by `take`-ing the events in their order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.totals: dict[int, Totals] = {}
        self._began: datetime | None = None
        self._iteration: int | None = None
        self._open: dict[str, Entry] = {}  # what has begun and not ended, by its own key
        self._files: dict[int, Files] = {}  # of each iteration

    def take(self, event: Event) -> None:
        at = datetime.fromisoformat(event["at"])
        self._began = self._began or at
        if event["kind"] == "iteration.started":
            self._iteration = event.get("iteration")
        seconds = (at - self._began).total_seconds()
        data = event.get("data") or {}
        number = event.get("iteration") or self._iteration
        kind = str(event["kind"])
        handler = _ROOMS.get(kind.partition(".")[0])
        if handler is not None:
            handler(self, kind, Entry(seconds, number, "", "", data=data), data)

    def as_json(self) -> Data:
        return {
            "entries": [asdict(entry) for entry in self.entries],
            "iterations": [asdict(self.totals[number]) for number in sorted(self.totals)],
        }

    # ---- what the handlers use ----

    def add(self, entry: Entry, what: str, text: str, *, ok: bool = True, seconds: float | None = None) -> Entry:
        entry.what, entry.text, entry.ok = what, _short(text), ok
        entry.duration_seconds = seconds
        self.entries.append(entry)
        return entry

    def begin(self, key: str, entry: Entry, what: str, text: str) -> None:
        self._open[key] = self.add(entry, what, text)

    def end(self, key: str, at: Entry, **data: Any) -> Entry | None:
        """The entry that began under this key, ended; None when none did."""
        entry = self._open.pop(key, None)
        if entry is not None:
            entry.duration_seconds = round(at.seconds - entry.seconds, 3)
            entry.data = {**entry.data, **data}
        return entry

    def of(self, number: int | None) -> Totals:
        return self.totals.setdefault(number or 0, Totals(number or 0))

    def touched(self, number: int | None, kind: str, data: Data) -> None:
        files = self._files.setdefault(number or 0, Files())
        files.take(kind, data, number)
        self.of(number).files_changed = len(files.changes())


# ---- one handler for each kind of event ----


def _iteration(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    name = kind.partition(".")[2]
    totals = line.of(entry.iteration)
    if name not in ("started", "retried", "resumed"):
        totals.state = {"succeeded": "success"}.get(name, name)
    score = f", score {data['score']:g}" if isinstance(data.get("score"), int | float) else ""
    why = f": {data['error']}" if data.get("error") else ""
    if name == "resumed":
        why = f" after a restart of the daemon: {resumed(data)}"
    ok = name in ("started", "succeeded", "resumed")
    line.add(entry, "iteration", f"{entry.iteration} {name}{score}{why}", ok=ok)


def _execution(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    name = kind.partition(".")[2]
    if name == "ending":  # its end tells the same
        return
    why = f": {data['error']}" if data.get("error") else ""
    line.add(entry, "execution", name + why, ok=name not in ("failed", "cancelled"))


def _image(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    if kind == "image.pulling":
        line.begin("image", entry, "image", str(data.get("image", "?")))
    elif kind == "image.pulled":
        line.end("image", entry)


def _container(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    name = str(data.get("name", ""))
    if kind == "container.created":
        line.begin(f"container {name}", entry, "container", name)
    elif kind == "container.removed":
        line.end(f"container {name}", entry)
    elif kind == "container.killed":
        line.add(entry, "container", f"killed: {data.get('reason', '')}", ok=False)


def _model(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    if kind != "model.called":
        to = f" -> {data['fallback']}" if data.get("fallback") else ""
        line.add(entry, "model", f"{kind.partition('.')[2]}{to}: {data.get('error', '')}", ok=False)
        return
    totals = line.of(entry.iteration)
    totals.model_turns += 1
    totals.input_tokens += _count(data.get("input_tokens"))
    totals.output_tokens += _count(data.get("output_tokens"))
    calls = ", ".join(map(str, data.get("tool_calls") or ()))
    text = " ".join(filter(None, [str(data.get("content") or ""), f"-> {calls}" if calls else ""]))
    line.add(entry, "model", text or "(nothing)", seconds=_seconds(data.get("seconds")))


def _tool(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    """The model's, and those that a process in the container made by itself (SMCP)."""
    name, caller = str(data.get("name", "?")), str(data.get("caller") or "model")
    key = _call(caller, name)
    totals = line.of(entry.iteration)
    if kind == "tool.called":
        totals.tool_calls += 1
        by = "" if caller == "model" else f" (by the {caller} itself)"
        line.begin(key, entry, "tool", f"{name} {_arguments(data.get('arguments'))}".rstrip() + by)
    elif kind == "tool.denied":
        totals.denied += 1
        called = line.end(key, entry, reason=data.get("reason"), rules=data.get("rules"))
        if called is not None:
            called.ok, called.text = False, _short(f"{called.text}: denied: {data.get('reason', '')}")
    elif kind == "tool.completed":
        called = line.end(key, entry, result=data.get("result"))
        if called is not None and str(data.get("result", "")).startswith("error: "):
            called.ok = False


def _call(caller: str, name: str) -> str:
    """A call under way: the model's are one after the other, a container's need not be."""
    return f"tool {caller} {name}"


def _dispatch(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    key = f"dispatch {data.get('dispatch_id')}"
    if kind == "dispatch.sent":
        line.end(_call("model", "cmd.run"), entry)
        argv = [str(data.get("command", "?")), *map(str, data.get("args") or ())]
        line.begin(key, entry, "command", " ".join(argv))
    elif kind == "dispatch.completed":
        totals, code = line.of(entry.iteration), data.get("exit_code")
        totals.commands += 1
        totals.commands_failed += code != 0
        sent = line.end(key, entry, **data)
        if sent is not None:
            sent.ok = code == 0
            took = data.get("duration_ms")
            sent.duration_seconds = took / 1000 if isinstance(took, int | float) else sent.duration_seconds


def _file(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    name, path = kind.partition(".")[2], str(data.get("path", "?"))
    totals, count = line.of(entry.iteration), _count(data.get("bytes"))
    if name in ("denied", "failed"):
        line.add(entry, "file", f"{data.get('operation', '?')} {path}: {data.get('error', '?')}", ok=False)
        return
    line.touched(entry.iteration, name, data)
    if name == "read":
        totals.bytes_read += count
    elif name == "write":
        totals.bytes_written += count
    to = f" -> {data['to_path']}" if data.get("to_path") else ""
    many = f" ({count} bytes in {data.get('operations', 1)})" if name in ("read", "write") else ""
    line.add(entry, "file", f"{name} {path}{to}{many}")


def _network(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    """Events of one host add up: each tells how many connections were decided since the one before."""
    name, connections = kind.partition(".")[2], _count(data.get("connections"))
    totals = line.of(entry.iteration)
    totals.network_denied += connections if name == "denied" else 0
    totals.network_allowed += connections if name == "allowed" else 0
    totals.network_failed += connections if name == "failed" else 0
    totals.network_bytes += _count(data.get("bytes_sent")) + _count(data.get("bytes_received"))
    port = f":{data['port']}" if data.get("port") else ""
    text = f"{name} {data.get('host', '?')}{port} {data.get('reason', '')}".rstrip()
    line.add(entry, "network", f"{text} ({connections} connections)", ok=name == "allowed")


def _judge(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    name, judge = kind.partition(".")[2], str(data.get("judge", "?"))
    if name == "started":
        line.add(entry, "judge", f"{judge}: execution {data.get('execution_id', '?')}")
        return
    if name == "failed":
        line.add(entry, "judge", str(data.get("error", "?")), ok=False)
        return
    totals = line.of(entry.iteration)
    totals.judges += 1
    totals.input_tokens += _count(data.get("input_tokens"))
    totals.output_tokens += _count(data.get("output_tokens"))
    said = f"score {data.get('score')}, confidence {data.get('confidence')}: {data.get('reasoning', '')}"
    text = f"cannot be used: {data.get('reason', '')}" if name == "unusable" else said
    line.add(entry, "judge", f"{judge}: {text}", ok=name == "answered", seconds=_seconds(data.get("seconds")))


def _validator(line: Timeline, kind: str, entry: Entry, data: Data) -> None:
    passed = bool(data.get("passed"))
    first = str(data.get("reason") or "").partition("\n")[0]
    text = f"{data.get('validator', '?')} {'passed' if passed else 'did not pass'}, score {data.get('score')}"
    line.add(entry, "validator", f"{text}: {first}" if first else text, ok=passed)


Handler = Callable[[Timeline, str, Entry, Data], None]
_ROOMS: dict[str, Handler] = {
    "execution": _execution,
    "iteration": _iteration,
    "image": _image,
    "container": _container,
    "model": _model,
    "tool": _tool,
    "dispatch": _dispatch,
    "file": _file,
    "network": _network,
    "judge": _judge,
    "validator": _validator,
}


def _arguments(arguments: Any) -> str:
    """What a call is about: its path, its URL or its command, else all of it."""
    if not isinstance(arguments, dict):
        return ""
    if "command" in arguments:
        return " ".join(map(str, [arguments["command"], *(arguments.get("args") or ())]))
    for key in ("path", "url", "pattern"):
        if key in arguments:
            return str(arguments[key])
    return " ".join(f"{key}={value}" for key, value in arguments.items())


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS_MAX else line[: TEXT_CHARACTERS_MAX - 3] + "..."
