"""`python -m nfsd DIRECTORY`: serve directories over NFSv3. See `--help`."""

from __future__ import annotations

import sys

from nfsd.cli.options import parse
from nfsd.cli.serve import run


def main() -> int:
    """Entry point of the `nfsd` command."""
    return run(parse(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
