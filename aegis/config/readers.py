"""What the values of a node's configuration may look like, beyond those that manifests have as well."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from pydantic import SecretStr

from aegis.documents.names import ENVIRONMENT_VALUE_BYTES_MAX
from aegis.documents.nodes import Node, Scalar
from aegis.documents.readers import Mistake, Reader, text, text_of
from aegis.domain.mounts import check_mount_options
from aegis.ids import NAME_PATTERN, TENANT_PATTERN

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:.]{2,45}")
_URL_SCHEMES = ("http://", "https://")
_ANY_HOST = "0.0.0.0"  # noqa: S104 - what ":2049" means everywhere


def _address(node: Node) -> dict[str, Any]:
    wanted = 'an address and a port ("0.0.0.0:2049", "[::1]:2049")'
    value = text_of(node, wanted).strip()
    match = _ADDRESS.fullmatch(value)
    if match is None:
        hint = f"with the port: {value}:2049" if _HOST.fullmatch(value) and ":" not in value else ""
        raise Mistake(wanted, hint)
    if int(match["port"]) > 65535:
        raise Mistake(wanted, "ports end at 65535")
    return {"host": match["six"] or match["host"] or _ANY_HOST, "port": int(match["port"])}


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value.strip()))
    except ValueError as error:
        raise Mistake("an address or a network (10.0.0.0/8)", str(error)) from None


def _subnet(value: str) -> str:
    wanted = "a private IPv4 network for containers (10.97.0.0/20)"
    try:
        network = ipaddress.IPv4Network(value.strip())
    except ValueError as error:
        raise Mistake(wanted, str(error)) from None
    if network.prefixlen > 28:
        raise Mistake(wanted, "it has room for hardly any container")
    return str(network)


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise Mistake("a host name or an address, without a port")
    return value


def _url(value: str) -> str:
    if not value.startswith(_URL_SCHEMES) or len(value) < 9 or re.search(r"\s", value):
        raise Mistake("a URL (http://host:port)")
    return value.rstrip("/")


def _docker_url(value: str) -> str:
    wanted = "where Docker listens (unix:///var/run/docker.sock, tcp://host:2375)"
    if value.startswith("/"):
        return f"unix://{value}"
    if not re.fullmatch(r"unix:///\S+|(?:tcp|http|https)://\S+", value):
        raise Mistake(wanted)
    return value


def _mount_options(value: str) -> str:
    try:
        return check_mount_options(value)
    except ValueError as error:
        raise Mistake("NFS mount options that keep nfsvers=3,proto=tcp,nolock", str(error)) from None


def _registry(value: str) -> str:
    """As images name it: matched exactly, so a scheme or a path would never match anything."""
    if "://" in value or "/" in value or not re.fullmatch(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?", value):
        raise Mistake("a registry as images name it (ghcr.io, localhost:5000)", "without a scheme and without a path")
    return value.lower()


def check_alias(name: str) -> None:
    if not NAME_PATTERN.fullmatch(name):
        raise Mistake("an alias (lower-case letters, digits, '.', '_', '-')", found=f"the alias {name[:80]!r}")


def check_tenant(name: str) -> None:
    if not TENANT_PATTERN.fullmatch(name):
        raise Mistake("a tenant (lower-case letters, digits, '_', '-')", found=f"the tenant {name[:80]!r}")


OWN_TOOLS = ("fs", "cmd", "web")


def check_tool_server(name: str) -> None:
    """Its tools are `name.tool`: no dot in it, and none of our own."""
    wanted = "the name of a tool server (lower-case letters, digits, '_', '-')"
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
        raise Mistake(wanted, found=f"the name {name[:80]!r}")
    if name in OWN_TOOLS:
        raise Mistake(wanted, f"{name}.* are tools of the daemon itself", found=f"the name {name}")


def _argument(node: Node) -> str:
    """A reference would become visible: what programs are called with is shown to every user of the host."""
    if isinstance(node, Scalar) and node.untyped:
        raise Mistake(
            "an argument as it is", "every user of this host can see it; pass secrets in env", found="a reference"
        )
    return text_of(node, "an argument")


def _variable(node: Node) -> SecretStr | str:
    """What came by reference is a secret."""
    value = text_of(node)
    if "\0" in value or len(value.encode()) > ENVIRONMENT_VALUE_BYTES_MAX:
        raise Mistake("text that an environment can hold", "no NUL, and at most 128 KiB")
    return SecretStr(value) if isinstance(node, Scalar) and node.untyped else value


_DRIVERS = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}


def database_url(value: str) -> str:
    """A database URL as SQLAlchemy's asynchronous engine takes it. `sslmode` is libpq's word, asyncpg's is `ssl`.

    Raises Mistake, which never repeats the URL: there is a password in it."""
    wanted = "postgresql://user:password@host/name or sqlite:///path"
    scheme, separator, rest = value.strip().partition("://")
    if not separator or scheme not in _DRIVERS:
        found = f"a URL of {scheme}" if separator and re.fullmatch(r"[a-z0-9+]{1,30}", scheme) else "no database URL"
        raise Mistake(wanted, found=found)
    driver = _DRIVERS[scheme]
    if driver.startswith("sqlite"):
        if not rest.startswith("/"):
            raise Mistake(wanted, "three slashes before a relative path, four before an absolute one", found="no path")
        return f"{driver}://{rest}"
    rest = re.sub(r"([?&])sslmode=", r"\1ssl=", rest)
    return f"{driver}://{rest}"


ADDRESS = Reader("an address and a port", _address)
NETWORK = text("an address or a network", _network)
SUBNET = text("a private IPv4 network", _subnet)
HOST_NAME = text("a host name or an address", _host)
URL = text("a URL", _url)
DOCKER_URL = text("where Docker listens", _docker_url)
MOUNT_OPTIONS = text("NFS mount options", _mount_options)
DATABASE_URL = text("a database URL", database_url)
FILE_PATH = text("a path", empty=False)
COMMAND = text("a program", empty=False)
ARGUMENT = Reader("an argument", _argument)
VARIABLE = Reader("text", _variable)
SECRET = text("a secret", empty=False)
REGISTRY = text("a registry", _registry)
