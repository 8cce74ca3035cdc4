"""`python -m bench.production`: nfsd with the layers a volume has in production, for the benchmark to speak to.

    production --listen 172.17.0.1:2050 --export /bench/tmpfs=/dev/shm/x=host --audit-file F [--loop uvloop] ...

Squash, policy with patterns, quota and audit are all on; audit records are written to a file as lines. `python -m nfsd`
has no use for a policy and an audit trail, so it cannot stand in for this.

The rule: nothing is tuned here that production does not tune. What serves is nfsd, from its public parts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from bench.sampling import Sampler
from nfsd.cli.options import listen_option, network_option
from nfsd.cli.serve import loop_factory, spare_the_collector
from nfsd.cli.state import handle_secret
from nfsd.exports import Export, ExportTable
from nfsd.handles import derived_export_key
from nfsd.server.server import NfsServer
from nfsd.server.turns import TURN_UNIT_NS
from nfsd.vfs.audit import Audit
from nfsd.vfs.descriptors import raise_descriptor_limit
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.records import Record
from nfsd.vfs.stack import SquashTo, build_stack

QUOTA_BYTES = 1 << 40
TICK_SECONDS = 1.0
TURNS_FILE = "turns"
"""In the state directory, at the end: how long the loop's turns took."""


class Volume(NamedTuple):
    """One `--export`."""

    path: str
    directory: Path
    durability: str


def volume_option(text: str) -> Volume:
    """PATH=DIRECTORY=DURABILITY."""
    path, directory, durability = text.split("=")
    if durability not in ("stable", "host"):
        raise argparse.ArgumentTypeError(f"{durability!r}: wanted stable or host")
    return Volume(path, Path(directory), durability)


def arguments() -> argparse.Namespace:
    """Of this process."""
    parser = argparse.ArgumentParser(prog="python -m bench.production", description=__doc__)
    parser.add_argument("--listen", type=listen_option, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--allow", type=network_option, action="append", default=[], metavar="NETWORK")
    parser.add_argument("--export", type=volume_option, action="append", required=True, metavar="PATH=DIRECTORY=HOW")
    parser.add_argument("--uid", type=int, default=1000, help="the user clients are, and see as owner")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--busy-poll", type=int, default=200, metavar="MICROSECONDS", help="as of python -m nfsd")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--audit-file", type=Path, required=True)
    parser.add_argument(
        "--sample", type=Path, metavar="FILE",
        help="write there, at the end, which lines time was spent on since SIGUSR1 (see bench.sampling)",
    )  # fmt: skip
    return parser.parse_args()


class AuditTrail:
    """Appends one line for each record."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def take(self, batch: Sequence[Record]) -> None:
        """All of a batch, before anything else is done."""
        self._stream.writelines([f"{record!r}\n" for record in batch])


async def open_volume(volume: Volume, options: argparse.Namespace, trail: AuditTrail) -> FileSystem:
    """The backend with all of its layers."""
    meta = options.state_dir / "meta" / volume.path.strip("/").replace("/", ".")
    meta.mkdir(mode=0o700, parents=True, exist_ok=True)
    ledger = Ledger(QUOTA_BYTES)
    await ledger.recount(volume.directory)
    return build_stack(
        LocalFileSystem(str(volume.directory), meta=str(meta), durability=volume.durability),
        identity=SquashTo(options.uid, options.uid),
        read=["/**"],
        write=["/**"],
        ledger=ledger,
        sink=trail.take,
    )


async def tick(stacks: Sequence[FileSystem]) -> None:
    """The clock of the audit layers."""
    while True:
        now = time.time()
        for stack in stacks:
            if isinstance(stack, Audit):
                stack.tick(now)
        await asyncio.sleep(TICK_SECONDS)


async def serve(options: argparse.Namespace, trail: AuditTrail) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    secret = handle_secret(options.state_dir)
    exports = ExportTable(secret)
    stacks = [await open_volume(volume, options, trail) for volume in options.export]
    for number, (volume, stack) in enumerate(zip(options.export, stacks, strict=True), start=1):
        path = volume.path.encode()
        exports.attach(Export(path=path, key=derived_export_key(secret, path), fs=stack, fsid=number))
    replay_file = options.state_dir / "replies"
    server = NfsServer(exports, listen=[options.listen], allowed=options.allow, replay_file=replay_file)
    await server.start()
    ticking = asyncio.create_task(tick(stacks), name="audit-tick")
    spare_the_collector()
    sampler = Sampler()
    if options.sample is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, sampler.start)
    await stop.wait()
    if options.sample is not None:
        options.sample.write_text(sampler.stop(), "utf-8")
    if server.stats.turns is not None:
        turns = {
            "unit_ns": TURN_UNIT_NS,
            "counts": server.stats.turns.counts,
            "longest_ns": server.stats.turns.longest_ns,
        }
        (options.state_dir / TURNS_FILE).write_text(json.dumps(turns), "ascii")
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    await server.close()
    for stack in stacks:
        await stack.close()


def main() -> None:
    """Serve as the command line says."""
    options = arguments()
    raise_descriptor_limit()
    with (
        options.audit_file.open("a", encoding="utf-8") as stream,
        asyncio.Runner(loop_factory=loop_factory(options.loop, options.busy_poll / 1e6)) as runner,
    ):
        runner.run(serve(options, AuditTrail(stream)))


if __name__ == "__main__":
    main()
