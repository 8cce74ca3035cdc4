"""`python3 -m integration.workloads fsx`: the random work by hand, in a guest, or wherever Python is."""

from __future__ import annotations

import argparse
import sys

from integration.workloads import fsx


def main() -> int:
    """Exit status: 0 all is as it should be, 1 it is not, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python3 -m integration.workloads", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fsx.add_arguments(commands.add_parser("fsx", help=fsx.run.__doc__, description=fsx.__doc__))
    arguments = parser.parse_args()
    return int(arguments.function(arguments))


if __name__ == "__main__":
    sys.exit(main())
