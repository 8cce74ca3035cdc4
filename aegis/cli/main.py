"""The command `aegis`: its nouns, and the one place where a failure becomes words and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 daemon not reachable, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from aegis.cli import agent, bundle, config, daemon, doctor, history, volume
from aegis.cli.demo import demo
from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, print_failure
from aegis.cli.session import Session
from aegis.version import VERSION

app = typer.Typer(
    name="aegis",
    help="Runs AI agents in throw-away containers on a POSIX workspace that it serves itself over NFSv3.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 daemon not reachable.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for noun in (agent, bundle, history, volume, config, daemon):
    app.add_typer(noun.app)
app.command()(doctor.doctor)
app.command()(demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"aegis {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="AEGIS_API_URL", help="The daemon's address, http://127.0.0.1:8080 by default."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    context.obj = Session(url=url)


def wants_json(arguments: list[str]) -> bool:
    """Whether a failure is to be told as JSON: the parser's answer is not there when the parser itself fails."""
    if os.environ.get("AEGIS_OUTPUT") == Format.JSON.value:
        return True
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(a in ("--output=json", "-ojson") or (a in ("--output", "-o") and value == "json") for a, value in pairs)


def main() -> NoReturn:
    try:
        app()
    except CommandFailed as failure:
        print_failure(failure, Format.JSON if wants_json(sys.argv[1:]) else Format.TEXT)
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    sys.exit(Exit.DONE)


if __name__ == "__main__":
    main()
