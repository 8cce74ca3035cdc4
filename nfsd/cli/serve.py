"""From options to a running server, and back to nothing: the composition root of `python -m nfsd`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import shlex
import signal
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from nfsd.cli.options import ExportOption, Options
from nfsd.cli.state import SECRET_BYTES, StateError, default_state_directory, handle_secret
from nfsd.exports import Export, ExportTable
from nfsd.handles import derived_export_key
from nfsd.server.listen import ListenError
from nfsd.server.selector import polling_loop_factory
from nfsd.server.server import NfsServer
from nfsd.vfs.descriptors import raise_descriptor_limit
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.stack import MappedFor, SquashTo, build_stack

log = logging.getLogger("nfsd")


class ServeError(Exception):
    """The server cannot run; the message is for the operator."""


def run(options: Options) -> int:
    """Serve until a signal. Returns the exit code; says on standard error why it could not."""
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        check_user(options)
        for export in options.exports:
            check_directory(export.directory, options.read_only)
        workers = min(options.workers, len(options.exports))
        with asyncio.Runner(loop_factory=loop_factory(options.loop, options.busy_poll_seconds)) as runner:
            runner.run(serve(options) if workers == 1 else supervise(options, workers))
    except (ServeError, StateError, ListenError) as error:
        print(f"nfsd: {error}", file=sys.stderr)
        return 1
    return 0


async def supervise(options: Options, workers: int) -> None:
    """As `serve`, with the exports dealt out to that many processes. Imported only then: one process pays nothing."""
    from nfsd.cli.supervisor import Supervisor

    await Supervisor(options, workers).run()


def check_user(options: Options) -> None:
    if os.geteuid() == 0 and not options.allow_root:
        raise ServeError(
            "refusing to run as root: a mistake in it would be root's. Run it as an ordinary user who owns the "
            "directories, or insist with --allow-root"
        )


def check_directory(directory: Path, read_only: bool) -> None:
    """ServeError unless we can serve this directory: the kernel is asked, not the mode bits."""
    if not directory.exists():
        raise ServeError(f"{directory} does not exist; make it first: mkdir -p {shlex.quote(str(directory))}")
    if not directory.is_dir():
        raise ServeError(f"{directory} is not a directory")
    if not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
        raise ServeError(f"{directory} cannot be read by user {os.geteuid()}")
    if not read_only and not os.access(directory, os.W_OK, effective_ids=True):
        raise ServeError(
            f"{directory} cannot be written by user {os.geteuid()}; serve it with --read-only, or change it"
        )


def loop_factory(name: str, busy_poll_seconds: float) -> Callable[[], asyncio.AbstractEventLoop]:
    """ServeError when the loop is not installed."""
    if name == "asyncio":
        return polling_loop_factory(busy_poll_seconds)
    try:
        import uvloop
    except ImportError:
        raise ServeError(
            "--loop uvloop: uvloop is not installed; pip install uvloop, or leave the option out"
        ) from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def serve(options: Options) -> None:
    """Until SIGTERM or SIGINT; what was received is answered before it returns."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    raise_descriptor_limit()
    secret, directory = state(options)
    meta = None if directory is None else directory / "meta"
    ledgers: list[Ledger] = []
    exports = ExportTable(secret)
    server = NfsServer(
        exports, listen=options.listen, allowed=options.allowed, reserved_ports_only=options.reserved_ports_only,
        replay_file=replay_file(options, directory),
    )  # fmt: skip
    try:
        for export in options.exports:
            exports.attach(await open_export(export, options, secret, meta, ledgers))
        await server.start()
        spare_the_collector()
        announce(options, server.addresses)
        await stop.wait()
    finally:
        await server.close()
        for attached in list(exports):
            exports.detach(attached.path)
            await attached.fs.close()
        for ledger in ledgers:
            await ledger.close()


def state(options: Options) -> tuple[bytes, Path | None]:
    """The secret, and the directory for what is kept between two runs; None: there is none."""
    if options.state_directory is not None:
        return handle_secret(options.state_directory), options.state_directory
    try:
        directory = default_state_directory()
        return handle_secret(directory), directory
    except (StateError, RuntimeError) as error:  # RuntimeError: Path.home() of a user without one
        log.warning("%s; without it, mounts will not survive a restart of this server", error)
        return secrets.token_bytes(SECRET_BYTES), None


def replay_file(options: Options, directory: Path | None) -> Path | None:
    """One a port: servers that run side by side may share the directory. A port the kernel chooses is another one next
    time, and no client comes back to it."""
    port = options.listen[0][1]
    return None if directory is None or port == 0 else directory / f"replies-{port}"


async def open_export(
    export: ExportOption, options: Options, secret: bytes, meta: Path | None, ledgers: list[Ledger]
) -> Export:
    """fsid and key come from the path and the directory: the same after a restart.

    With a quota, what is there already begins to be counted, and its ledger is put to the others: whoever closes the
    file system closes them.
    """
    directory = os.fsencode(export.directory.resolve())
    volume = blake2b(export.path + b"\0" + directory, digest_size=8, person=b"nfsd volume").digest()
    kept = None if meta is None else meta / volume.hex()
    ledger = None if options.quota_bytes is None else Ledger(options.quota_bytes)
    try:
        backend = LocalFileSystem(directory, meta=None if kept is None else str(kept), durability=options.durability)
        if ledger is not None:
            await ledger.open(directory, None if kept is None else kept / "account")
            ledgers.append(ledger)
    except OSError as error:
        raise ServeError(f"{export.directory} cannot be served: {error}") from error
    return Export(
        path=export.path,
        key=derived_export_key(secret, export.path),
        fs=build_stack(backend, identity=_identity(options), read_only=options.read_only, ledger=ledger),
        fsid=int.from_bytes(volume, "big"),
        read_only=options.read_only,
    )


def _identity(options: Options) -> SquashTo | MappedFor:
    if options.identity == "mapped":
        return MappedFor(options.uid, options.gid)
    return SquashTo(options.uid, options.gid, options.chown)


def spare_the_collector() -> None:
    """Nodes and handles live long and form few cycles: looking through them all at each 700th allocation is waste."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def announce(options: Options, addresses: list[tuple[str, int]]) -> None:
    """The line that says "ready" on standard output, and for people how to mount it on standard error."""
    paths = ", ".join(os.fsdecode(export.path) for export in options.exports)
    where = ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
    print(f"nfsd: serving {paths} on {where}", flush=True)
    host, port = addresses[0]
    if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    for export in options.exports:
        device = shlex.quote(f"{host}:{os.fsdecode(export.path)}")
        log.info(
            "mount -t nfs -o nfsvers=3,proto=tcp,port=%d,mountport=%d,mountproto=tcp,nolock %s /mnt", port, port, device
        )
