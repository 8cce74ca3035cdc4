"""What the engine's error texts mean, for an operator: the object, what was found, and the next step.

Docker gives most failures of the kernel, of runc and of registries as HTTP 500 with a sentence; the tables below are
the sentences seen (20.10 to 28) and what to do about each. An unknown sentence is passed on as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aegis.adapters.docker.connection import EngineRefused
from aegis.adapters.docker.payloads import FILES_DIRECTORY
from aegis.adapters.docker.references import Reference
from aegis.errors import AegisError, ContainerFailed, ImageNotFound, ImagePullFailed, MountFailed

# "failed to mount local volume: mount :/t/v:/var/lib/docker/volumes/NAME/_data, data: addr=...: no such device"
_MOUNT = re.compile(
    r"failed to mount local volume: mount (?P<device>\S+):(?P<target>/[^,:]*), "
    r"(?:flags: \w+(?:, )?)?(?:data: (?P<data>[^:]*))?: (?P<reason>[^:]+)$"
)
_VOLUME_NAME = re.compile(r"/volumes/([^/]+)/_data")


@dataclass(frozen=True, slots=True)
class _Meaning:
    text: str
    next_step: str
    retryable: bool


_MOUNT_REASONS = {
    "no such device": _Meaning(
        "the kernel of the engine's host has no NFS client",
        "On the engine's host: `sudo modprobe nfs` (Debian: `sudo apt install nfs-common`)",
        False,
    ),
    "connection refused": _Meaning(
        "nothing listens at the gateway's address and port, as the engine's host sees them",
        "Check that the gateway is up, and runtime.nfs_server_host, runtime.nfs_port and runtime.nfs_mountport",
        True,
    ),
    "connection timed out": _Meaning(
        "the engine's host gets no answer from the gateway",
        "Check runtime.nfs_server_host and the firewall between the engine's host and the gateway",
        True,
    ),
    "no route to host": _Meaning(
        "the engine's host has no way to the gateway's address", "Check runtime.nfs_server_host", True
    ),
    "network is unreachable": _Meaning(
        "the engine's host has no way to the gateway's address", "Check runtime.nfs_server_host", True
    ),
    "permission denied": _Meaning(
        "the gateway refused the engine's host",
        "Add its address to storage.nfs_allowed_clients",
        False,
    ),
    "no such file or directory": _Meaning(
        "the gateway has no such export: the volume is not attached", "Run the task again", True
    ),
    "operation not permitted": _Meaning(
        "this engine may not mount NFS, as rootless Docker may not",
        "Use a Docker Engine that runs as root (`aegis doctor` shows which one this is)",
        False,
    ),
    "protocol not supported": _Meaning(
        "the gateway and the kernel found no common protocol", "Use nfsvers=3,proto=tcp in the mount options", False
    ),
    "invalid argument": _Meaning(
        "the kernel does not take these mount options", "Check the mount profile's options", False
    ),
}


def mount_failure(refused: EngineRefused) -> MountFailed | None:
    """None when the refusal is about something else."""
    if "failed to mount local volume" not in refused.text and "error while mounting volume" not in refused.text:
        return None
    found = _MOUNT.search(refused.text)
    name = _VOLUME_NAME.search(refused.text)
    volume = f"volume {name[1]}" if name else "a volume"
    if found is None:
        return MountFailed(f"Docker could not mount {volume}: {refused.text}")
    reason = found["reason"].strip()
    meaning = _MOUNT_REASONS.get(reason.lower())
    what = f"Docker could not mount {volume} from {found['device']} ({found['data'] or 'no options'}): {reason}"
    if meaning is None:
        return MountFailed(what)
    return MountFailed(f"{what}, that is: {meaning.text}", next_step=meaning.next_step, retryable=meaning.retryable)


_CONTAINER_TEXTS = (
    (
        re.compile(r'exec: "(?P<what>[^"]*)": (?:executable file not found|stat [^:]*: no such file)'),
        "the image has no command {what!r} (exit code 127)",
        "Use an image that contains it, or write its full path",
    ),
    (
        re.compile(r'exec: "(?P<what>[^"]*)": permission denied'),
        "the image's {what!r} is not executable for this user (exit code 126)",
        "Make it executable in the image",
    ),
    (
        re.compile(r"Range of CPUs is from (?P<what>.*?),? as there are"),
        "the engine's host has fewer CPUs than asked for (it gives {what})",
        "Lower spec.resources.cpu_quota",
    ),
    (
        re.compile(r"(?P<what>Minimum memory limit.*)"),
        "{what}",
        "Raise spec.resources.memory_bytes",
    ),
    (
        re.compile(r"(?P<what>no space left on device)"),
        "the engine's disk is full ({what})",
        "See `docker system df`; `docker system prune` frees what nothing uses",
    ),
    (
        re.compile(r"network (?P<what>\S+) not found"),
        "its network {what} is gone",
        "Run the task again: the network is made anew",
    ),
)
_RETRYABLE_TEXTS = ("network", "no space")


def container_failure(what: str, refused: EngineRefused) -> AegisError:
    """`what` names the container and what was to be done, as "Container X could not be started"."""
    mount = mount_failure(refused)
    if mount is not None:
        return mount
    if refused.http_status == 404 and (found := re.search(r"No such image: (\S+)", refused.text)):
        return ImageNotFound(
            f"{what}: there is no image {found[1]} on the engine's host",
            next_step=f"Run `docker pull {found[1]}`, or set image_pull_policy to IfNotPresent",
        )
    for pattern, text, next_step in _CONTAINER_TEXTS:
        if found := pattern.search(refused.text):
            return ContainerFailed(
                f"{what}: {text.format(what=found['what'])}",
                next_step=next_step,
                retryable=any(word in refused.text for word in _RETRYABLE_TEXTS),
            )
    return ContainerFailed(f"{what}: {refused.text}", retryable=refused.retryable)


def init_failure(command: str, reason: str) -> str:
    """For an exit with 126 or 127 before the command ran."""
    # For a foreign program tini (execvp) tries /bin/sh, and tells of that one: what we put in is always there.
    ours = command.startswith(f"{FILES_DIRECTORY}/")
    if "No such file" in reason and not ours:
        return f"the image has no command {command!r}: use an image that contains it"
    if "Exec format error" in reason or ours:
        return (
            f"{command!r} is a program for another architecture than the engine's host: use an image for the host's, "
            "or let the host run foreign programs (Debian: `sudo apt install qemu-user-static binfmt-support`)"
        )
    return f"the image's command {command!r} cannot be executed: {reason}"


_MISSING_TEXTS = ("manifest unknown", "not found", "does not exist", "no such image", "name unknown")
_DENIED_TEXTS = ("unauthorized", "authentication required", "no basic auth credentials", "denied", "forbidden")
_UNREACHABLE_TEXTS = (
    "no such host",
    "connection refused",
    "i/o timeout",
    "server misbehaving",
    "network is unreachable",
)


def pull_failure(
    reference: Reference, refused: EngineRefused, *, with_credentials: bool
) -> ImageNotFound | ImagePullFailed:
    """docker.io answers "denied" for what does not exist and for what is private alike; the message says both."""
    text = refused.text.lower()
    if "no space left on device" in text:
        return ImagePullFailed(
            f"The engine's disk is full: image {reference} could not be stored",
            next_step="See `docker system df`; `docker system prune` frees what nothing uses",
        )
    if "toomanyrequests" in text or "rate limit" in text:
        return ImagePullFailed(
            f"Registry {reference.registry} limits the pulls of this host: {refused.text}",
            next_step=f"Wait, or add registry_credentials for {reference.registry}",
        )
    if any(word in text for word in _UNREACHABLE_TEXTS):
        return ImagePullFailed(
            f"Registry {reference.registry} cannot be reached from the engine's host: {refused.text}",
            next_step="Check the network, or use image_pull_policy Never with an image that is there",
        )
    if any(word in text for word in _DENIED_TEXTS):
        step = (
            "Check the registry_credentials of"
            if with_credentials
            else "If it is private, add registry_credentials for"
        )
        missing = "denied" in text and "does not exist" in text
        kind = ImageNotFound if missing else ImagePullFailed
        return kind(
            f"Registry {reference.registry} does not give image {reference}: {refused.text}",
            next_step=f"Check the image's name. {step} {reference.registry}",
            retryable=False,
        )
    if any(word in text for word in _MISSING_TEXTS):
        return ImageNotFound(
            f"Registry {reference.registry} has no image {reference}: {refused.text}",
            next_step="Check the image's name and tag",
        )
    return ImagePullFailed(f"Image {reference} could not be pulled: {refused.text}")
