"""`python3 -m integration.posix run|list|peer|differences`: the suite by hand, in a guest, or wherever Python is."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys

from integration.posix import claims
from integration.posix.differences import document
from integration.posix.peer import serve
from integration.posix.runner import Runner


def _chosen(patterns: list[str]) -> list[claims.Claim]:
    everything = claims.every_claim()
    if not patterns:
        return everything
    return [each for each in everything if any(fnmatch.fnmatchcase(each.name, pattern) for pattern in patterns)]


def run(arguments: argparse.Namespace) -> int:
    """Run claims in a directory of the file system under test; exit 1 when one failed."""
    has = {claims.ROOT if os.geteuid() == 0 else claims.ORDINARY}
    if os.geteuid() == 0 and arguments.users:
        has.add(claims.USERS)
    if arguments.peer:
        has.add(claims.PEER)
    base = os.path.abspath(arguments.directory)
    failed = False
    for outcome in Runner(base, frozenset(has), arguments.peer).run(_chosen(arguments.claim)):
        failed |= outcome.result == "fail"
        print(outcome.line().decode(), end="", flush=True)
    return 1 if failed else 0


def show(arguments: argparse.Namespace) -> int:
    """Print the claims' names."""
    for each in _chosen(arguments.claim):
        print(each.name)
    return 0


def peer(arguments: argparse.Namespace) -> int:
    """Serve as the second process of claims that need one."""
    serve(arguments.address)
    return 0


def differences(_arguments: argparse.Namespace) -> int:
    """Print docs/posix-differences.md."""
    print(document(), end="")
    return 0


def main() -> int:
    """Exit status: 0 every claim holds or does not apply, 1 some do not hold, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python3 -m integration.posix", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    running = commands.add_parser("run", help=run.__doc__)
    running.add_argument("claim", nargs="*", help="only these; * and ? match")
    running.add_argument("--directory", default=".", help="an empty directory on it (default: here)")
    running.add_argument("--users", action="store_true", help="the file system tells users apart (run as root)")
    running.add_argument("--peer", default="", metavar="HOST:PORT", help="where a peer serves")
    running.set_defaults(function=run)
    listing = commands.add_parser("list", help=show.__doc__)
    listing.add_argument("claim", nargs="*")
    listing.set_defaults(function=show)
    commands.add_parser("differences", help=differences.__doc__).set_defaults(function=differences)
    serving = commands.add_parser("peer", help=peer.__doc__)
    serving.add_argument("address", metavar="HOST:PORT")
    serving.set_defaults(function=peer)
    arguments = parser.parse_args()
    return int(arguments.function(arguments))


if __name__ == "__main__":
    sys.exit(main())
