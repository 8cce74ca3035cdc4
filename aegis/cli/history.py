"""`aegis task timeline`, `diff`, `export` and `replay`: what an execution did, and whether it would do it again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from aegis.cli.agent import read_text
from aegis.cli.changes import changes
from aegis.cli.client import Client
from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, Output, clean, print_json, say, size, table
from aegis.cli.session import connect, execution_id
from aegis.cli.task import Task, app, stored_events
from aegis.cli.timeline import Entry, Timeline, Totals

Only = Annotated[int | None, typer.Option("--iteration", "-i", min=1, help="Only what this iteration did.")]
STYLES = {
    "iteration": "bold",
    "execution": "bold",
    "command": "cyan",
    "tool": "cyan",
    "file": "dim",
    "container": "dim",
}
STATUS = {"A": "green", "M": "yellow", "D": "red", "R": "yellow"}


@app.command()
def timeline(
    context: typer.Context,
    task: Task,
    iteration: Only = None,
    files: Annotated[bool, typer.Option("--files/--no-files", help="With what the gateway saw of files.")] = True,
    output: Output = Format.TEXT,
) -> None:
    """What an execution did and when: iterations, model turns, tools, commands with their exit codes, files, network.

    Example: aegis task timeline 6f9619ff --iteration 2
    """
    client = connect(context)
    found = execution_id(client, task)
    line = Timeline()
    for event in stored_events(client, found):
        line.take(event)
    line.entries = [e for e in line.entries if iteration in (None, e.iteration) and (files or e.what != "file")]
    if output is Format.JSON:
        print_json({"execution_id": found, **line.as_json()})
        return
    for entry in line.entries:
        say(_line(entry), "red" if not entry.ok else STYLES.get(entry.what, ""))
    for number in sorted(line.totals):
        if number and iteration in (None, number):
            say(_summary(line.totals[number]), "bold")


def _line(entry: Entry) -> str:
    took = "" if entry.duration_seconds is None else f"{entry.duration_seconds:.2f} s"
    code = entry.data.get("exit_code") if entry.what == "command" else None
    ended = "" if code is None else f"  [exit {code}]"
    return f"{entry.seconds:9.3f}  {entry.what:<9}  {took:>9}  {clean(entry.text)}{ended}"


def _summary(totals: Totals) -> str:
    parts = [
        f"{totals.model_turns} model turns ({totals.input_tokens}+{totals.output_tokens} tokens)",
        f"{totals.tool_calls} tool calls" + (f", {totals.denied} denied" if totals.denied else ""),
        f"{totals.commands} commands" + (f", {totals.commands_failed} failed" if totals.commands_failed else ""),
        f"{totals.files_changed} files changed, {size(totals.bytes_written)} written",
    ]
    if totals.network_allowed or totals.network_denied or totals.network_failed:
        decided = f"{totals.network_allowed} allowed, {totals.network_denied} denied, {totals.network_failed} failed"
        parts.append(f"connections: {decided}, {size(totals.network_bytes)}")
    if totals.judges:
        parts.append(f"{totals.judges} judges' answers")
    return f"iteration {totals.number} ({totals.state}): {'; '.join(parts)}"


def exported(client: Client, task: str) -> dict[str, Any]:
    """The whole record of an execution."""
    record: dict[str, Any] = client.get(f"/v1/executions/{task}/record")
    return {**record, "events": list(stored_events(client, task))}


@app.command()
def export(context: typer.Context, task: Task) -> None:
    """Print all that was recorded of an execution, as one JSON document: for `replay --file`, on any machine.

    Example: aegis task export 6f9619ff > execution.json
    """
    client = connect(context)
    print_json(exported(client, execution_id(client, task)))


@app.command()
def replay(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="[EXECUTION]", help="An execution's id, or its beginning.")] = "",
    file: Annotated[str, typer.Option("--file", "-f", help="What `export` wrote; - is the standard input.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Decide again everything an execution decided, from what was recorded, and compare. Nothing is run or asked.

    With --file no daemon is needed. The exit code is 0 when all is the same, 1 at the first difference.

    Example: aegis task replay --file execution.json
    """
    if bool(task) is bool(file):
        raise CommandFailed("Name an execution or a --file", exit_code=Exit.USAGE, next_step="aegis task list")
    if file:
        document, source = _read_json(file), file
    else:
        client = connect(context)
        found = execution_id(client, task)
        document, source = exported(client, found), f"execution {found}"
    decisions, difference = _replayed(document, source)
    if difference is None:
        told = f"replay: {decisions} decisions, all the same"
        print_json({"decisions": decisions, "same": True}) if output is Format.JSON else say(told, "green")
        return
    if output is Format.JSON:
        print_json({"decisions": decisions, "same": False, "difference": difference})
    else:
        say(f"replay: {decisions} decisions the same, then a difference at {clean(difference['where'])}", "red")
        for side in ("recorded", "replayed"):
            say(f"--- {side}", "bold")
            say(clean(_text(difference[side])))
    raise CommandFailed(
        f"The replay differs at {difference['where']}",
        document={"code": "replay_differs", "detail": difference["where"]},
        next_step="Was it recorded by another version of aegis?",
    )


def _replayed(document: Any, source: str) -> tuple[int, dict[str, Any] | None]:
    """Imported here: no other command of these needs the services."""
    import asyncio

    from aegis.cli.documents import refuse
    from aegis.errors import AegisError
    from aegis.replay import read_record
    from aegis.replay import replay as replay_record

    try:
        report = asyncio.run(replay_record(read_record(document, source)))
    except AegisError as error:
        raise refuse(error) from error
    found = report.difference
    if found is None:
        return report.decisions, None
    return report.decisions, {"where": found.where, "recorded": found.recorded, "replayed": found.replayed}


def _read_json(file: str) -> Any:
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{file} is no JSON: {error}", exit_code=Exit.USAGE) from error


def _text(side: Any) -> str:
    if side is None:
        return "(nothing)"
    return side if isinstance(side, str) else json.dumps(side, indent=2, ensure_ascii=False)


@app.command()
def diff(context: typer.Context, task: Task, iteration: Only = None, output: Output = Format.TEXT) -> None:
    """Which files an execution added (A), changed (M), deleted (D) or renamed (R), as the gateway saw it.

    Example: aegis task diff 6f9619ff --iteration 1
    """
    client = connect(context)
    found = changes(stored_events(client, execution_id(client, task)), iteration)
    if output is Format.JSON:
        print_json([asdict(change) for change in found])
        return
    rows: list[tuple[Any, ...]] = [
        (
            each.status,
            f"{each.from_path} -> {each.path}" if each.from_path else each.path,
            each.iteration or "",
            size(each.bytes_written) if each.bytes_written else "",
        )
        for each in found
    ]
    table(("", "PATH", "ITERATION", "WRITTEN"), rows, "no files changed")
