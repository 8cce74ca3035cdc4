"""What names in a manifest may look like: agents, volumes, images, hosts, paths, variables, tools.

Each check takes the text, returns its normal form, or raises `Mistake` with the reason. None of them asks the world:
whether an image or a volume exists is found out when it is used.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import uuid

from aegis.documents.readers import Mistake, Reader, matching, text
from aegis.domain.hosts import split_port
from aegis.ids import NAME_PATTERN

ENVIRONMENT_VALUE_BYTES_MAX = 128 * 1024 - 1  # MAX_ARG_STRLEN of Linux holds for every string of execve

NAME = matching(
    NAME_PATTERN.pattern, "a name (at most 63 lower-case letters, digits, '.', '_', '-'; a letter or digit first)"
)

_REFERENCE = re.compile(
    r"(?:(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/)?"  # registry
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"  # repository
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"  # tag, digest
)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_SYSTEM_TREES = ("/proc", "/sys", "/dev", "/aegis")
_SYSTEM_DIRECTORIES = ("/", "/bin", "/boot", "/etc", "/lib", "/lib64", "/run", "/sbin", "/usr", "/var")


def _image(value: str) -> str:
    wanted = "an image reference (python:3.11-slim, registry.example.org/team/image@sha256:...)"
    if "://" in value:
        raise Mistake(wanted, "an image reference has no scheme: leave the part with :// out")
    if len(value) > 255 or not _REFERENCE.fullmatch(value):
        lower = value.lower()
        upper = value != lower and _REFERENCE.fullmatch(lower)
        raise Mistake(wanted, f"repository names are lower-case: {lower}" if upper else "")
    return value


def _host(value: str) -> str:
    wanted = "a host name (api.example.org, *.example.org:8443) or an address or network (10.0.0.0/8)"
    lower, port = split_port(value.strip().lower())
    if port is not None:
        if not 0 < port < 65536:
            raise Mistake(wanted, "ports are 1 to 65535")
        if "/" in lower:
            raise Mistake(wanted, "a network has no port")
        host = _host(lower[1:-1] if lower.startswith("[") else lower)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if "://" in lower:
        host = lower.split("://", 1)[1].split("/", 1)[0].split(":", 1)[0]
        raise Mistake(wanted, f"this is a URL; the list is of hosts: {host}")
    try:
        return str(ipaddress.ip_network(lower, strict=False)) if "/" in lower else str(ipaddress.ip_address(lower))
    except ValueError:
        pass
    if re.fullmatch(r"[^/]+/.*", lower):
        raise Mistake(wanted, f"paths cannot be told apart here: {lower.split('/', 1)[0]}")
    if len(lower) > 253 or not _HOST.fullmatch(lower):
        raise Mistake(wanted, "a wildcard stands for the whole first part only: *.example.org" if "*" in lower else "")
    return lower.rstrip(".")


def _absolute(value: str, wanted: str) -> str:
    if not value.startswith("/") or "\0" in value or len(value) > 1024:
        raise Mistake(wanted, f"paths begin with a slash: /{value}" if value and "\0" not in value else "")
    if ".." in value.split("/"):
        raise Mistake(wanted, f"without '..' it is {posixpath.normpath(value)}")
    return "/" + posixpath.normpath(value).lstrip("/")


def _mount_path(value: str) -> str:
    wanted = "an absolute path of its own in the container (/workspace)"
    path = _absolute(value, wanted)
    if path in _SYSTEM_DIRECTORIES or any(path == tree or path.startswith(tree + "/") for tree in _SYSTEM_TREES):
        raise Mistake(wanted, f"{path} belongs to the image or to the system; use /workspace or a directory of yours")
    if "," in path or ":" in path:
        raise Mistake(wanted, "without ',' and ':'")
    return path


def _container_path(value: str) -> str:
    return _absolute(value, "an absolute path in the container")


def _pattern(value: str) -> str:
    wanted = "an absolute path or pattern in the container (/workspace, /workspace/**)"
    return _absolute(value, wanted)


def _volume_id(value: str) -> str:
    wanted = "the id of an existing volume (a UUID; see aegis volume list)"
    if "{{" in value:
        raise Mistake(wanted, "templates in volume_id are understood, and not available in this version")
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise Mistake(wanted) from None


def check_variable(name: str) -> None:
    """The name of an environment variable that a manifest may set."""
    wanted = "the name of an environment variable (letters, digits, '_'; no digit first)"
    if not _VARIABLE.fullmatch(name):
        raise Mistake(wanted, found=f"the name {name[:80]!r}")
    if name.upper().startswith("AEGIS_"):
        hint = "the daemon sets the variables that begin with AEGIS_ itself"
        raise Mistake("a name that does not begin with AEGIS_", hint, found=f"the name {name[:80]}")


def check_label(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,253}[A-Za-z0-9])?", name):
        raise Mistake("a label's name (letters, digits, '.', '_', '-', '/')", found=f"the name {name[:80]!r}")


def _variable_value(value: str) -> str:
    """A manifest is deployed by whoever may deploy; the daemon's own environment and secrets are not his to read."""
    if value.startswith("secret:"):
        raise Mistake("text", "a secret can stand in a manifest's environment, not here")
    if value.startswith("env:"):
        raise Mistake("text", "a manifest cannot read the daemon's environment; literal:env:... means this very text")
    if len(value.encode()) > ENVIRONMENT_VALUE_BYTES_MAX:
        raise Mistake("at most 128 KiB (Linux' limit)", found=f"{len(value.encode())} bytes")
    return value.removeprefix("literal:")


class SecretReference(str):
    """What follows `secret:` in a manifest: where a value is, not the value."""


SECRET_REFERENCE = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*(?:#[^#\s]{1,255})?")


def _manifest_variable(value: str) -> str:
    if not value.startswith("secret:"):
        return _variable_value(value)
    reference = value.removeprefix("secret:")
    if not SECRET_REFERENCE.fullmatch(reference) or len(reference) > 1024 or ".." in reference.split("/"):
        raise Mistake(
            "secret:path#field", "letters, digits, '_', '-', '.', and '/' between; #field where it has several"
        )
    return SecretReference(reference)


IMAGE: Reader = text("an image reference", _image)
HOST: Reader = text("a host name", _host)
MOUNT_PATH: Reader = text("an absolute path", _mount_path)
CONTAINER_PATH: Reader = text("an absolute path", _container_path)
PATH_PATTERN: Reader = text("an absolute path or pattern", _pattern)
VOLUME_ID: Reader = text("the id of a volume", _volume_id)
VARIABLE_VALUE: Reader = text("text", _variable_value)
MANIFEST_VARIABLE: Reader = text("text", _manifest_variable)
