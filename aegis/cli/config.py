"""`aegis config`: is the configuration right, and where does each value come from. Needs no daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from aegis.cli.output import Format, Output, print_json, say

app = typer.Typer(name="config", help="The node's configuration.", no_args_is_help=True)

File = Annotated[
    str | None,
    typer.Argument(metavar="[FILE]", help="Default: AEGIS_CONFIG_PATH, ./aegis-config.yaml, ~/.aegis, /etc/aegis."),
]


@app.command()
def validate(file: File = None, output: Output = Format.TEXT) -> None:
    """Check a configuration: every problem at once, with line, path, found and wanted.

    Example: aegis config validate /etc/aegis/config.yaml
    """
    from aegis.cli.documents import load_node_config

    loaded = load_node_config(file)
    if output is Format.JSON:
        print_json({"valid": True, "source": str(loaded.source)})
    else:
        say(f"{loaded.source}: valid", "green")


@app.command()
def explain(file: File = None, output: Output = Format.TEXT) -> None:
    """Print every value the daemon would run with and where it comes from. Secrets are masked.

    Example: aegis config explain
    """
    from aegis.cli.documents import load_node_config, print_rows

    loaded = load_node_config(file)
    print_rows(loaded.explanation, getattr(loaded, "notes", ()), output)
