"""Names of images, and which registry's credentials a name gets."""

from __future__ import annotations

import pytest

from aegis.adapters.docker.references import RegistryCredentials, auth_header, parse
from aegis.errors import Refused

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("me/agent", "docker.io/me/agent:latest"),
        ("index.docker.io/python", "docker.io/library/python:latest"),
        ("ghcr.io/me/agent:1", "ghcr.io/me/agent:1"),
        ("localhost/agent", "localhost/agent:latest"),
        ("localhost:5000/agent", "localhost:5000/agent:latest"),
        ("registry:5000/a/b/c:x", "registry:5000/a/b/c:x"),
        (f"python@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        (f"python:3@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        ("me/a__b.c--d", "docker.io/me/a__b.c--d:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(image: str, full: str) -> None:
    assert str(parse(image)) == full
    assert parse(full) == parse(image)


@pytest.mark.parametrize(
    "image",
    [
        "",
        ":1",
        "Python",
        "python:",
        "python@",
        "a//b",
        "/a",
        "a/",
        "a:b:c",
        "python:-x",
        "a b",
        "x@sha256:12",
        "a_b.c/d",
    ],
)
def test_what_docker_would_refuse_is_refused(image: str) -> None:
    with pytest.raises(Refused, match="is not the name of an image"):
        parse(image)


def test_credentials_match_the_whole_registry_and_no_other() -> None:
    mine = {"registry.example.com": RegistryCredentials("me", "secret")}
    assert auth_header(parse("registry.example.com/a"), mine)
    assert auth_header(parse("registry.example.com:5000/a"), mine) is None
    assert auth_header(parse("example.com/a"), mine) is None
    assert auth_header(parse("docker.io/registry.example.com/a"), mine) is None


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(RegistryCredentials("me", "secret"))
