"""`aegis config`: is the configuration right, and where does each value come from. Needs no daemon; where values are
secrets of a store, it needs the store, as the daemon will."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from aegis.cli.output import Format, Output, print_json, say

app = typer.Typer(name="config", help="The node's configuration.", no_args_is_help=True)

File = Annotated[
    str | None,
    typer.Argument(metavar="[FILE]", help="Default: AEGIS_CONFIG_PATH, ./aegis-config.yaml, ~/.aegis, /etc/aegis."),
]


def _open_secrets(settings: Any) -> Callable[[str], str]:
    from aegis.daemon.parts import open_secrets  # here: who has no secrets should not wait for it

    return open_secrets(settings)


@app.command()
def validate(file: File = None, output: Output = Format.TEXT) -> None:
    """Check a configuration: every problem at once, with line, path, found and wanted.

    Example: aegis config validate /etc/aegis/config.yaml
    """
    from aegis.cli.documents import load_node_config

    loaded = load_node_config(file, _open_secrets)
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

    loaded = load_node_config(file, _open_secrets)
    print_rows(loaded.explanation, getattr(loaded, "notes", ()), output)
