"""`aegis task`: run agents, follow what they do, and stop them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer

from aegis.cli.agent import deploy_file, read_text
from aegis.cli.client import Client
from aegis.cli.events import PASSING, describe
from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, Live, Output, clean, fields, print_json, print_json_line, say, table, when
from aegis.cli.running import Running
from aegis.cli.session import connect, execution_id

app = typer.Typer(name="task", help="Executions: runs of an agent until a verdict.", no_args_is_help=True)

Task = Annotated[str, typer.Argument(metavar="EXECUTION", help="An execution's id, or its beginning.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the execution ends.")]
ENDED = ("completed", "failed", "cancelled")


@app.command()
def execute(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="An agent, or a manifest file to deploy first.")],
    input: Annotated[str, typer.Argument(metavar="[INPUT]", help="What this run is asked to do.")] = "",
    input_file: Annotated[str | None, typer.Option(help="INPUT from a file; - is the standard input.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end; the exit code tells it.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait, and show what happens.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Run an agent. With --wait or --follow the exit code is 0 only when it completed.

    Ctrl-C while waiting asks whether to cancel it; without a terminal it goes on running.

    Example: aegis task execute hello.yaml "Write a haiku" --follow
    """
    client = connect(context)
    if os.path.isfile(agent) and agent.endswith((".yaml", ".yml", ".json")):
        agent = deploy_file(client, agent)["id"]
    text = read_text(input_file) if input_file else input
    execution = client.post("/v1/executions", {"agent": agent, "input": text})
    task = execution["id"]
    if not (wait or follow):
        print_json(execution) if output is Format.JSON else say(task)
        return
    if output is Format.TEXT:
        say(f"execution {task} of {clean(execution['agent_name'])}", "dim")
    watch(client, task, output, show=follow)
    _finish(client, task, output)


def watch(
    client: Client, task: str, output: Format, *, show: bool, after: int = 0, running: Running | None = None
) -> None:
    """Until its end. An interrupt asks, and ends this command whatever the answer."""
    live, running = Live(), running or Running()
    try:
        for event in client.follow(task, after):
            if show:
                _show(event, output, live, running)
    except KeyboardInterrupt:
        live.clear()
        _interrupted(client, task)


def _show(event: dict[str, Any], output: Format, live: Live, running: Running) -> None:
    if output is Format.JSON:
        print_json_line(event)
        return
    for line, style in describe(event, running):
        live.passing(line, style) if event["kind"] in PASSING else live.line(line, style)


def _interrupted(client: Client, task: str) -> NoReturn:
    """A second interrupt, or the end of input, is a no."""
    print(file=sys.stderr)
    cancelled = False
    try:
        if sys.stdin.isatty() and typer.confirm(f"Cancel execution {task}?", default=False, err=True):
            client.post(f"/v1/executions/{task}/cancel", {})
            cancelled = True
    except (KeyboardInterrupt, typer.Abort):
        print(file=sys.stderr)
    raise CommandFailed(
        "Interrupted: the execution is cancelled" if cancelled else "Interrupted: the execution goes on running",
        exit_code=Exit.INTERRUPTED,
        next_step="" if cancelled else f"aegis task logs --follow {task}, or aegis task cancel {task}",
    )


def _finish(client: Client, task: str, output: Format) -> None:
    """The last word, and the exit code: CommandFailed unless it completed."""
    execution = client.get(f"/v1/executions/{task}")
    completed = execution["state"] == "completed"
    if output is Format.JSON:
        print_json(execution)
    elif completed:
        say(f"completed in {_count(len(execution['iterations']), 'iteration')}", "green")
        if execution["output"]:
            say(clean(execution["output"]))
    if not completed:
        reason = f": {execution['error']}" if execution["error"] else ""
        raise CommandFailed(
            f"The execution {task} is {execution['state']}{reason}",
            next_step=f"aegis task status {task}",
            document={"code": execution["error_code"] or execution["state"], "detail": execution["error"] or ""},
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@app.command("list")
def list_tasks(
    context: typer.Context,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only these; may be repeated.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 50,
    output: Output = Format.TEXT,
) -> None:
    """Executions, newest first.

    Example: aegis task list --state running
    """
    items = connect(context).get("/v1/executions", state=state or None, limit=limit)["items"]
    if output is Format.JSON:
        print_json(items)
        return
    rows = [
        (item["id"], item["agent_name"], item["state"], when(item["created_at"]), (item["error"] or _asked(item))[:60])
        for item in items
    ]
    table(("ID", "AGENT", "STATE", "CREATED", "INPUT OR ERROR"), rows, "no executions")


def _asked(execution: dict[str, Any]) -> str:
    """What it was asked; of a judge that is a whole dossier, for which there is JSON."""
    parent = execution.get("parent_id")
    return f"to judge {parent}" if parent else str(execution["input"])


@app.command()
def status(context: typer.Context, task: Task, output: Output = Format.TEXT) -> None:
    """One execution with its iterations and what the validators said.

    Example: aegis task status 6f9619ff
    """
    client = connect(context)
    execution = client.get(f"/v1/executions/{execution_id(client, task)}")
    if output is Format.JSON:
        print_json(execution)
        return
    fields(
        {
            "id": execution["id"],
            "agent": execution["agent_name"],
            "state": execution["state"],
            "created": when(execution["created_at"]),
            "ended": when(execution["ended_at"]),
            "input": _asked(execution),
            "error": execution["error"],
            "used": _used(execution.get("usage")),
        }
    )
    for iteration in execution["iterations"]:
        say()
        _show_iteration(iteration)
    if execution["output"]:
        say()
        say(clean(execution["output"]))


def _used(usage: dict[str, Any] | None) -> str:
    """Tokens and cost, in short; nothing where no model was asked."""
    if not usage or not usage["calls"]:
        return ""
    tokens = f"{usage['input_tokens']:,} tokens in, {usage['output_tokens']:,} out"
    cost = "" if usage["cost"] is None else f", cost {usage['cost']:.4f}"
    return f"{_count(usage['calls'], 'answer')}, {tokens}{cost}"


def _show_iteration(iteration: dict[str, Any]) -> None:
    calls = _count(iteration["tool_calls"], "tool call")
    say(f"iteration {iteration['number']}: {iteration['state']}, {calls}", "bold")
    if used := _used(iteration.get("usage")):
        say(f"  {used}", "dim")
    for judgement in iteration["judgements"]:
        reason = f": {clean(judgement['reason'])}" if judgement["reason"] else ""
        text = f"  {clean(judgement['validator'])} scored {judgement['score']:g}{reason}"
        say(text, "green" if judgement["passed"] else "yellow")
        for each in judgement.get("opinions") or []:
            how = f"score {each['score']:g}, confidence {each['confidence']:g}, weight {each['weight']:g}"
            say(f"    {clean(each['judge'])} ({how}): {clean(each['reasoning'])}", "dim")
    if iteration["error"]:
        say(f"  {clean(iteration['error'])}", "red")


@app.command()
def logs(context: typer.Context, task: Task, follow: Follow = False, output: Output = Format.TEXT) -> None:
    """What happened in an execution. With --output json an event a line.

    Example: aegis task logs --follow 6f9619ff
    """
    client = connect(context)
    found = execution_id(client, task)
    last, live, running = 0, Live(), Running()
    for event in stored_events(client, found):
        last = event["sequence"]
        _show(event, output, live, running)
    live.clear()
    if follow and client.get(f"/v1/executions/{found}")["state"] not in ENDED:
        watch(client, found, output, show=True, after=last, running=running)


def stored_events(client: Client, task: str) -> Iterator[dict[str, Any]]:
    after = 0
    while items := client.get(f"/v1/executions/{task}/events", after=after)["items"]:
        yield from items
        after = items[-1]["sequence"]
        if items[-1]["kind"] in ("execution.completed", "execution.failed", "execution.cancelled"):
            return


@app.command()
def cancel(context: typer.Context, task: Task, output: Output = Format.TEXT) -> None:
    """Stop an execution; its container is removed. Refused when it has already ended.

    Example: aegis task cancel 6f9619ff
    """
    client = connect(context)
    execution = client.post(f"/v1/executions/{execution_id(client, task)}/cancel", {})
    print_json(execution) if output is Format.JSON else say(f"{execution['id']} is {execution['state']}")
