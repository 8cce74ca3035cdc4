"""The programs that run where the file system under test is mounted: in a guest, or wherever Python is."""

from __future__ import annotations

import argparse
import sys

from integration.workloads import cpython, fire, fsx, manifest, material, trees


def main() -> int:
    """Exit status: 0 all is as it should be, 1 it is not, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python3 -m integration.workloads", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fsx.add_arguments(commands.add_parser("fsx", help=fsx.run.__doc__, description=fsx.__doc__))
    fire.add_arguments(commands.add_parser("fire", help=fire.run.__doc__, description=fire.__doc__))
    trees.add_arguments(commands.add_parser("trees", help=trees.run.__doc__, description=trees.__doc__))
    manifest.add_arguments(commands.add_parser("manifest", help=manifest.show.__doc__, description=manifest.__doc__))
    material.add_arguments(commands.add_parser("sample", help=material.sample.__doc__))
    cpython.add_arguments(commands.add_parser("cpython", help=cpython.run.__doc__, description=cpython.__doc__))
    arguments = parser.parse_args()
    return int(arguments.function(arguments))


if __name__ == "__main__":
    sys.exit(main())
