"""`aegis daemon`: run it in the foreground (as the systemd unit does), or in the background of this user."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from aegis.cli.client import state_directories
from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, Output, clean, paint, print_json, say, state
from aegis.cli.session import connect

app = typer.Typer(name="daemon", help="Run the orchestrator, or start, stop and install it.")

Config = Annotated[
    str | None, typer.Option("--config", "-c", metavar="FILE", help="Default: see `aegis config validate --help`.")
]
AllowRoot = Annotated[bool, typer.Option("--allow-root", help="Run as root all the same; its files are then root's.")]


@app.callback(invoke_without_command=True)
def daemon(context: typer.Context, config: Config = None, allow_root: AllowRoot = False) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    Example: aegis daemon --config /etc/aegis/config.yaml
    """
    if context.invoked_subcommand is not None:
        if config or allow_root:
            raise typer.BadParameter(f"give --config and --allow-root after `{context.invoked_subcommand}`")
        return
    _refuse_root(allow_root)
    from aegis.daemon import run

    sys.exit(run(Path(config) if config else None))


def _refuse_root(allowed: bool) -> None:
    if os.geteuid() == 0 and not allowed:
        raise CommandFailed(
            "The daemon does not run as root: whatever breaks out of it would be root, and its files would be root's",
            exit_code=Exit.REFUSED,
            next_step="Run it as a user in the group docker (`sudo aegis daemon install` sets that up),"
            " or add --allow-root",
        )


@app.command()
def start(
    context: typer.Context, config: Config = None, allow_root: AllowRoot = False, output: Output = Format.TEXT
) -> None:
    """Start the daemon in the background and wait until it answers.

    Example: aegis daemon start --config ./aegis-config.yaml
    """
    from aegis.cli import background

    _refuse_root(allow_root)
    arguments = ["daemon"]
    if config:
        arguments += ["--config", os.path.abspath(config)]
    if allow_root:
        arguments.append("--allow-root")
    client = connect(context)
    pid = background.start(state_directories()[0], arguments, client)
    if output is Format.JSON:
        print_json({"pid": pid, "url": client.url})
    else:
        say(f"the daemon answers at {client.url} (process {pid})", "green")


@app.command()
def stop(output: Output = Format.TEXT) -> None:
    """Stop the daemon that `aegis daemon start` started; running work is ended in order.

    Example: aegis daemon stop
    """
    from aegis.cli import background

    pid = background.stop(state_directories()[0])
    if output is Format.JSON:
        print_json({"stopped": pid})
    else:
        say(f"stopped (process {pid})")


@app.command()
def status(context: typer.Context, output: Output = Format.TEXT) -> None:
    """Whether the daemon answers and what it is missing. Exit code 1 when something is.

    Example: aegis daemon status
    """
    client = connect(context)
    code, body = client.status_of("/health")
    if code != 200:
        raise CommandFailed(f"Something else than the daemon answers at {client.url} (HTTP {code})")
    health = json.loads(body)
    if output is Format.JSON:
        print_json(health)
    else:
        minutes, seconds = divmod(health["uptime_seconds"], 60)
        say(f"aegis {health['version']} at {client.url}, up {minutes} min {seconds} s: {state(health['status'])}")
        for found in health["dependencies"]:
            mark = paint("ok  ", "green") if found["ok"] else paint("down", "red")
            print(f"  {mark}  {found['dependency']:<10} {clean(found['detail'] or found['code'])}".rstrip())
            if found["next_step"]:
                print(f"        {paint('next:', 'cyan')} {clean(found['next_step'])}")
    if health["status"] != "ok":
        raise typer.Exit(Exit.FAILED)


@app.command()
def install(
    config: Annotated[str, typer.Option("--config", "-c", metavar="FILE")] = "/etc/aegis/config.yaml",
    user: Annotated[str, typer.Option("--user", help="Whom the daemon runs as.")] = "aegis",
    print_only: Annotated[bool, typer.Option("--print", help="Print the unit, change nothing.")] = False,
) -> None:
    """Write the systemd unit (needs root), and say what is left to do.

    Example: sudo aegis daemon install
    """
    from aegis.cli.unit import DEFAULTS, unit_text

    executable = shutil.which("aegis") or os.path.abspath(sys.argv[0])
    text = unit_text(config=config, user=user, executable=executable)
    if print_only:
        print(text, end="")
        return
    path = Path(DEFAULTS["path"])
    try:
        path.write_text(text)
    except OSError as error:
        raise CommandFailed(
            f"{path} cannot be written: {error.strerror}",
            exit_code=Exit.REFUSED,
            next_step="sudo aegis daemon install (or --print, to put it there yourself)",
        ) from error
    say(f"wrote {path}", "green")
    say(f"""Then, as root:
  useradd --system --create-home --home-dir {DEFAULTS["working_directory"]} --groups docker {user}
  install -d -m 0750 -o {user} /etc/aegis      # {config} and {DEFAULTS["environment_file"]} (mode 0600) go here
  systemctl daemon-reload
  systemctl enable --now aegis
  journalctl -u aegis -f""")
