"""Names of images as Docker reads them (distribution's `reference` grammar), and the credentials for their registries.

The rule to know: a name without a registry is docker.io's, and docker.io's without a user is `library/`'s; a first
part is a registry only if it has a dot, a colon or is `localhost`. Credentials go to exactly the registry they name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aegis.errors import Refused

DOCKER_HUB = "docker.io"
_HUB_NAMES = {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
_HUB_AUTH = "https://index.docker.io/v1/"  # what Docker calls the hub in credentials since version 1
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_REGISTRY = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::\d+)?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
_NAME_BYTES_MAX = 255


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    username: str
    password: str

    def __repr__(self) -> str:
        return f"RegistryCredentials(username={self.username!r}, password=...)"


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's full name. With a digest the tag says nothing to Docker and is dropped."""

    registry: str
    repository: str
    version: str  # a tag, or a digest "sha256:..."

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.name}{'@' if ':' in self.version else ':'}{self.version}"


def parse(image: str) -> Reference:
    """`python` is `docker.io/library/python:latest`. Refused: what Docker would call an invalid reference."""
    rest, _, digest = image.partition("@")
    head, slash, tail = rest.rpartition("/")
    tail, _, tag = tail.partition(":")
    registry, repository = _split_registry(f"{head}{slash}{tail}")
    version = digest or tag or "latest"
    valid = (
        _REGISTRY.fullmatch(registry)
        and _PATH.fullmatch(repository)
        and len(repository) <= _NAME_BYTES_MAX
        and (_DIGEST if digest else _TAG).fullmatch(version)
        and not image.endswith((":", "@"))
    )
    if not valid:
        raise Refused(
            f"{image!r} is not the name of an image",
            next_step="Wanted: [registry/]name[:tag] or [registry/]name@sha256:digest, the name in lower case",
        )
    return Reference(registry, repository, version)


def loaded_name(reference: Reference) -> str:
    """The tag that stands for a digest where the image came from a file: `name:sha256-...`. With a tag: the name as it
    is."""
    return f"{reference.name}:{reference.version.replace(':', '-')}"


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = DOCKER_HUB, name
    registry = canonical_registry(first)
    if registry == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return registry, rest


def canonical_registry(name: str) -> str:
    """`https://index.docker.io/v1/` and `docker.io` are one registry; others are their host and port."""
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
    return DOCKER_HUB if host in _HUB_NAMES else host


def auth_header(reference: Reference, credentials: Mapping[str, RegistryCredentials]) -> str | None:
    """The value of `X-Registry-Auth` (base64url of JSON, padded); None when this registry has no credentials here."""
    for registry, entry in credentials.items():
        if canonical_registry(registry) == reference.registry:
            address = _HUB_AUTH if reference.registry == DOCKER_HUB else reference.registry
            fields = {"username": entry.username, "password": entry.password, "serveraddress": address}
            return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
    return None
