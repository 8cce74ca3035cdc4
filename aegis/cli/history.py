"""`aegis task timeline` and `diff`: what an execution did, after the fact or in the middle of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from aegis.cli.output import Format, Output, clean, print_json, say, size, table
from aegis.cli.session import connect, execution_id
from aegis.cli.task import Task, app, stored_events
from aegis.cli.timeline import Entry, Timeline, Totals, changes

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
    if totals.network_allowed or totals.network_denied:
        parts.append(f"network: {totals.network_allowed} allowed, {totals.network_denied} denied")
    if totals.judges:
        parts.append(f"{totals.judges} judges' answers")
    return f"iteration {totals.number} ({totals.state}): {'; '.join(parts)}"


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
