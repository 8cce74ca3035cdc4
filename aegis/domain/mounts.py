"""The `o=` string the local volume driver hands to mount(2): where the gateway is and how its loss is borne.

Source: nfs(5), and net/sunrpc of Linux for what the options do. dockerd's local driver calls mount(2) itself, without
mount.nfs, so nothing fills in what is left out: without `port`, `mountport` the kernel asks a portmapper on port 111.

Why `robust` is soft with a long time limit, and not hard. Over TCP a soft request fails with EIO after
`timeo * (retrans + 1)` tenths of a second (the backoff is linear: xprt_calc_majortimeo). While nothing listens, the
kernel tries to connect again after 3, 6, 12, 24, 48 s, so an outage of 60 s is noticed as over after 93 s at the worst;
180 s bear that with as much again to spare. `hard` bears any outage, but if the daemon never comes back, writing out
dirty pages never ends, umount(2) in dockerd hangs where no signal reaches it, and every `docker rm` behind it too:
with 180 s all of that ends by itself. `timeo=600` is the kernel's own for TCP: a shorter one makes it send
requests again that are merely waiting for the disk. `compat` is the specification page's string: EIO after 3 s.
"""

from __future__ import annotations

import re
from typing import Literal

MountProfile = Literal["robust", "compat"]

_BASE = "nfsvers=3,proto=tcp"
PROFILES: dict[MountProfile, str] = {
    "robust": f"{_BASE},soft,timeo=600,retrans=2,nolock",
    "compat": f"{_BASE},soft,timeo=10,nolock",
}
_REQUIRED = ("nfsvers=3", "proto=tcp", "nolock")
_OURS = ("addr", "port", "mountport", "mountproto", "mounthost", "mountaddr", "clientaddr")
_OPTION = re.compile(r"[a-z_]+(?:=[A-Za-z0-9.:_-]+)?")
_CONTRARY = {
    "lock",
    "udp",
    "vers",
    "minorversion",
    "nfsvers",
    "proto",
    "mountvers",
    "sec",
    "v2",
    "v4",
    "rdma",
    "local_lock",
}


def check_mount_options(options: str) -> str:
    """A node's own option string, as it is used between `addr=` and `port=`. ValueError says what is wrong with it.

    It must keep `nfsvers=3,proto=tcp,nolock` (the gateway speaks nothing else and has no lock manager) and must leave
    the addresses and ports to the daemon, which alone knows them.
    """
    parts = options.split(",")
    for part in parts:
        if not _OPTION.fullmatch(part):
            raise ValueError(f"{part!r} is no mount option (name or name=value, separated by commas, no spaces)")
        name = part.partition("=")[0]
        if name in _OURS:
            raise ValueError(f"{name} is set by the daemon")
        if name in _CONTRARY and part not in _REQUIRED:
            raise ValueError(f"{part} contradicts {','.join(_REQUIRED)}")
    missing = [option for option in _REQUIRED if option not in parts]
    if missing:
        raise ValueError(f"{','.join(missing)} is missing: the gateway speaks NFSv3 over TCP and has no lock manager")
    return options


def mount_options(
    profile: MountProfile, *, address: str, port: int, mountport: int | None = None, custom: str | None = None
) -> str:
    """The complete `o=` string. `address`: the gateway as the engine's host reaches it (a name is resolved by dockerd);
    `mountport`: of the MOUNT service, ours is on the same port; `custom`: a checked string in the profile's place."""
    between = check_mount_options(custom) if custom else PROFILES[profile]
    return f"addr={address},{between},port={port},mountport={mountport or port},mountproto=tcp"


def read_only(options: str) -> str:
    """The same mount, refused every change by the client itself: EROFS for each of them, also for a file opened to be
    written, where a server can only say EACCES (to ACCESS). `nosharecache`: two mounts of one file system share a
    superblock, and with it whether it is read-only, so a volume that is also mounted read-write must not be joined."""
    return f"{options},ro,nosharecache"


def outage_seconds(options: str) -> float | None:
    """How long a request waits for a gateway that is away before the container sees EIO; None: for ever (`hard`)."""
    parts = dict(part.partition("=")[::2] for part in options.split(","))
    if "soft" not in parts and "softerr" not in parts:
        return None
    return int(parts.get("timeo", "600")) / 10 * (int(parts.get("retrans", "2")) + 1)
