"""The command line: what can be said, what is wrong with what was said, and the one value the rest works with."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nfsd.exports import export_path
from nfsd.limits import BUSY_POLL_SECONDS_MAX, MNTPATH_BYTES_MAX, WORKERS_MAX
from nfsd.server.access import parse_network

DEFAULT_LISTEN = ("127.0.0.1", 2049)

_DESCRIPTION = """\
Serve directories over NFSv3 (TCP), as an ordinary user.

Every client acts as one user, --uid and --gid, and sees every file as his; with --identity mapped, users are told
apart by the ids their calls carry. Only this host may connect, unless --allow says more. NFS and MOUNT share one port,
and there is no portmapper: clients are told the port, as in the mount command that is printed."""

_EPILOG = """\
examples:
  python -m nfsd /srv/data                    as /data, on 127.0.0.1:2049
  python -m nfsd --export /t/v=/srv/v --export /t/w=/srv/w --listen 172.17.0.1:2049
  python -m nfsd --read-only --quota 500Mi --allow 10.0.0.0/8 --listen 0.0.0.0:2049 /srv/data
  python -m nfsd --identity mapped --uid 1000 --gid 1000 /srv/data

mount one:
  mount -t nfs -o nfsvers=3,proto=tcp,port=2049,mountport=2049,mountproto=tcp,nolock 127.0.0.1:/data /mnt

It says "nfsd: serving ..." on standard output when clients can connect. SIGTERM and SIGINT end it when what was
received is answered. Exit codes: 0 ended by a signal, 1 could not serve, 2 wrong usage."""

_BUSY_POLL_MICROSECONDS_MAX = 1000
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


@dataclass(frozen=True, slots=True)
class ExportOption:
    """One directory of the host and the path clients mount it by."""

    path: bytes
    directory: Path


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for, checked as far as it can be without touching the host."""

    exports: tuple[ExportOption, ...]
    listen: tuple[tuple[str, int], ...]
    allowed: tuple[str, ...]
    reserved_ports_only: bool
    identity: str
    uid: int
    gid: int
    chown: str
    read_only: bool
    durability: str
    quota_bytes: int | None
    state_directory: Path | None
    loop: str
    busy_poll_seconds: float
    log_level: str
    allow_root: bool
    workers: int = 1
    arguments: tuple[str, ...] = ()
    """The command line, for the worker processes."""


def parse(arguments: list[str]) -> Options:
    """Exits with 2 and a message on standard error when the command line is wrong (argparse's way)."""
    parser = _parser()
    given = parser.parse_args(arguments)
    exports = [*given.export, *(_named_export(directory) for directory in given.directory)]
    if not exports:
        parser.error("nothing to serve: give a directory, or --export PATH=DIRECTORY")
    paths = [export.path for export in exports]
    for path in paths:
        if paths.count(path) > 1:
            parser.error(f"two exports have the path {os.fsdecode(path)}: name them with --export PATH=DIRECTORY")
    return Options(
        exports=tuple(exports),
        listen=tuple(given.listen or [DEFAULT_LISTEN]),
        allowed=tuple(given.allow),
        reserved_ports_only=given.reserved_ports_only,
        identity=given.identity,
        uid=given.uid,
        gid=given.gid,
        chown=given.chown,
        read_only=given.read_only,
        durability=given.durability,
        quota_bytes=given.quota,
        state_directory=given.state_dir,
        loop=given.loop,
        busy_poll_seconds=given.busy_poll / 1e6,
        log_level=given.log_level,
        allow_root=given.allow_root,
        workers=given.workers,
        arguments=tuple(arguments),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nfsd",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "directory",
        nargs="*",
        type=Path,
        metavar="DIRECTORY",
        help="serve it under its own last name: /srv/data as /data",
    )
    what = parser.add_argument_group("what to serve")
    what.add_argument(
        "--export", action="append", default=[], type=export_option, metavar="PATH=DIRECTORY",
        help="serve DIRECTORY as PATH; may be repeated",
    )  # fmt: skip
    what.add_argument("--read-only", action="store_true", help="refuse every change with EROFS")
    what.add_argument(
        "--quota", type=size_option, metavar="SIZE",
        help="let the files of each export have SIZE bytes at most (500Mi, 2G); writes beyond it get ENOSPC",
    )  # fmt: skip
    what.add_argument(
        "--durability", choices=("stable", "host"), default="stable",
        help="stable: what a client was told is on disk survives a power cut (default); host: it survives a crash of "
        "this server only, and costs no flush",
    )  # fmt: skip
    who = parser.add_argument_group("for whom")
    who.add_argument(
        "--identity", choices=("squash", "mapped"), default="squash",
        help="squash: there is one user (default); mapped: several, with owners, groups and permissions of their own, "
        "kept beside the files. Whoever may connect is whom he says he is, root too",
    )  # fmt: skip
    who.add_argument(
        "--uid", type=id_option, default=os.getuid(),
        help="the user clients are, and see as owner; with mapped, whose the files are that were given to nobody "
        "(default: yours)",
    )  # fmt: skip
    who.add_argument("--gid", type=id_option, default=os.getgid(), help="the group likewise (default: yours)")
    who.add_argument(
        "--chown", choices=("accept", "deny"), default="accept",
        help="squash: what a client gets who gives a file to somebody else: success without effect (default), or EPERM",
    )  # fmt: skip
    who.add_argument(
        "--allow", action="append", default=[], type=network_option, metavar="ADDRESS[/BITS]",
        help="let this address or network connect, beside this host's own addresses; may be repeated",
    )  # fmt: skip
    who.add_argument(
        "--reserved-ports-only", action="store_true",
        help="refuse clients whose port is 1024 or above: programs of ordinary users. The kernel's client and dockerd "
        "pass; libnfs does not",
    )  # fmt: skip
    how = parser.add_argument_group("how")
    how.add_argument(
        "--listen", action="append", type=listen_option, metavar="ADDRESS:PORT",
        help="listen there (default: 127.0.0.1:2049); may be repeated",
    )  # fmt: skip
    how.add_argument(
        "--state-dir", type=Path, metavar="DIRECTORY",
        help="keeps the key that signs file handles: with it, mounts survive a restart "
        "(default: $XDG_STATE_HOME/nfsd, or ~/.local/state/nfsd)",
    )  # fmt: skip
    how.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the event loop")
    how.add_argument(
        "--busy-poll", type=microseconds_option, default=int(BUSY_POLL_SECONDS_MAX * 1e6), metavar="MICROSECONDS",
        help="look for the next call that long before sleeping, while calls come that quickly: shorter answers for "
        "clients that send one call at a time (default: %(default)s; 0: never; not with uvloop)",
    )  # fmt: skip
    how.add_argument(
        "--workers", type=workers_option, default=1, metavar="NUMBER",
        help="serve with that many processes, each export by one of them: for several busy exports on several cores "
        "(default: 1; more than there are exports are not started)",
    )  # fmt: skip
    how.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="what goes to standard error"
    )
    how.add_argument("--allow-root", action="store_true", help="run although the user is root")
    return parser


def export_option(text: str) -> ExportOption:
    path, separator, directory = text.partition("=")
    if not separator or not path.startswith("/") or not directory:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted PATH=DIRECTORY with a PATH like /tenant/volume")
    return _export(path, Path(directory))


def _named_export(directory: Path) -> ExportOption:
    return _export("/" + (directory.resolve().name or "export"), directory)


def _export(path: str, directory: Path) -> ExportOption:
    encoded = export_path(os.fsencode(path))
    if len(encoded) > MNTPATH_BYTES_MAX:
        raise argparse.ArgumentTypeError(f"{path!r}: a mount path has {MNTPATH_BYTES_MAX} bytes at most")
    if {b".", b".."} & set(encoded.split(b"/")):
        raise argparse.ArgumentTypeError(f"{path!r}: a mount path has no . or .. in it")
    return ExportOption(encoded, directory)


def listen_option(text: str) -> tuple[str, int]:
    """ADDRESS:PORT, [IPV6]:PORT or :PORT (every address of IPv4)."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([0-9.]*)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted ADDRESS:PORT, like 127.0.0.1:2049 or [::1]:2049")
    host = match[1] or match[2] or "0.0.0.0"  # noqa: S104  # asked for: an empty address means all
    try:
        parse_network(host.partition("%")[0])
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {host} is no IP address") from None
    return host, int(match[3])


def network_option(text: str) -> str:
    try:
        parse_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def size_option(text: str) -> int:
    """Bytes, with k, M, G, T (powers of 1000) or Ki, Mi, Gi, Ti (of 1024)."""
    match = re.fullmatch(r"([0-9]+)\s*([kmgt]i?)?b?", text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a size like 500Mi, 2G or 1048576")
    return int(match[1]) * (_UNITS | _BINARY)[match[2] or ""]


def microseconds_option(text: str) -> int:
    if not text.isdecimal() or int(text) > _BUSY_POLL_MICROSECONDS_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r}: wanted microseconds, a number from 0 (never) to {_BUSY_POLL_MICROSECONDS_MAX}"
        )
    return int(text)


def workers_option(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= WORKERS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number of processes from 1 to {WORKERS_MAX}")
    return int(text)


def id_option(text: str) -> int:
    if not text.isdecimal() or int(text) >= 0xFFFFFFFF:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number from 0 to {0xFFFFFFFE}")
    return int(text)
