"""`aegis doctor`: is this host able to run agents, and which command repairs what is not."""

from __future__ import annotations

import typer

from aegis.cli.failures import Exit
from aegis.cli.output import Format, Output, clean, paint, print_json, say


def doctor(context: typer.Context, output: Output = Format.TEXT) -> None:
    """Check this host: Docker, the kernel's NFS client, ports, directories. Each fault comes with its repair.

    Example: aegis doctor
    """
    from aegis.cli.checks import Level, run_checks
    from aegis.cli.session import connect

    findings = run_checks(connect(context))
    bad = sum(finding.level is Level.BAD for finding in findings)
    if output is Format.JSON:
        print_json([finding.as_json() for finding in findings])
    else:
        marks = {
            Level.GOOD: paint("ok  ", "green"),
            Level.WARN: paint("warn", "yellow"),
            Level.BAD: paint("bad ", "red"),
        }
        for finding in findings:
            print(f"{marks[finding.level]}  {finding.name:<16} {clean(finding.found)}")
            if finding.repair:
                print(f"      {paint('repair:', 'cyan')} {finding.repair}")
        say(f"{bad} of {len(findings)} checks failed" if bad else "this host can run agents", "red" if bad else "green")
    if bad:
        raise typer.Exit(Exit.FAILED)
