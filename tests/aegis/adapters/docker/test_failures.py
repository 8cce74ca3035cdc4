"""The engine's sentences as what an operator can act on. The texts were taken from real engines."""

from __future__ import annotations

import pytest

from aegis.adapters.docker.connection import EngineRefused
from aegis.adapters.docker.failures import container_failure, init_failure, mount_failure, pull_failure
from aegis.adapters.docker.references import parse
from aegis.errors import ContainerFailed, ImageNotFound, ImagePullFailed, MountFailed

MOUNT_20_10 = (
    "error while mounting volume '/var/lib/docker/volumes/vol-1/_data': failed to mount local volume: "
    "mount :/acme/0d5f:/var/lib/docker/volumes/vol-1/_data, data: addr=172.17.0.1,nfsvers=3,proto=tcp,nolock: {reason}"
)
MOUNT_FLAGS = MOUNT_20_10.replace(", data:", ", flags: 0x1, data:")


@pytest.mark.parametrize("text", [MOUNT_20_10, MOUNT_FLAGS])
@pytest.mark.parametrize(
    ("reason", "step", "retryable"),
    [
        ("no such device", "sudo modprobe nfs", False),
        ("connection refused", "gateway is up", True),
        ("connection timed out", "firewall", True),
        ("no route to host", "nfs_server_host", True),
        ("permission denied", "storage.nfs_allowed_clients", False),
        ("no such file or directory", "again", True),
        ("operation not permitted", "runs as root", False),
        ("protocol not supported", "nfsvers=3", False),
        ("invalid argument", "mount profile", False),
        ("input/output error", "", True),
    ],
)
def test_a_failed_mount_names_volume_export_reason_and_step(text: str, reason: str, step: str, retryable: bool) -> None:
    failure = mount_failure(EngineRefused("start container x", 500, text.format(reason=reason)))
    assert isinstance(failure, MountFailed)
    assert "volume vol-1 from :/acme/0d5f (addr=172.17.0.1,nfsvers=3,proto=tcp,nolock)" in failure.message
    assert reason in failure.message
    assert step in failure.next_step
    assert failure.retryable is retryable


def test_a_mount_failure_in_unknown_words_is_still_one() -> None:
    failure = mount_failure(EngineRefused("start", 500, "error while mounting volume '/v/_data': new words"))
    assert isinstance(failure, MountFailed)
    assert "new words" in failure.message


@pytest.mark.parametrize(
    ("status", "text", "kind", "words"),
    [
        (404, "No such image: python:9", ImageNotFound, "docker pull python:9"),
        (
            400,
            'failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "python3": executable file not found in $PATH: unknown',  # noqa: E501
            ContainerFailed,
            "no command 'python3' (exit code 127)",
        ),
        (
            400,
            'OCI runtime create failed: runc create failed: unable to start container process: exec: "/run.sh": permission denied: unknown',  # noqa: E501
            ContainerFailed,
            "'/run.sh' is not executable",
        ),
        (
            400,
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            ContainerFailed,
            "it gives 0.01 to 2.00",
        ),
        (400, "Minimum memory limit allowed is 6MB", ContainerFailed, "spec.resources.memory_bytes"),
        (500, "mkdir /var/lib/docker/overlay2/x: no space left on device", ContainerFailed, "docker system df"),
        (404, "network aegis-net not found", ContainerFailed, "its network aegis-net is gone"),
        (500, "something new", ContainerFailed, "Container x could not be started: something new"),
    ],
)
def test_a_refused_container_is_explained(status: int, text: str, kind: type[Exception], words: str) -> None:
    failure = container_failure("Container x could not be started", EngineRefused("start", status, text))
    assert type(failure) is kind
    assert words in str(failure)


@pytest.mark.parametrize(
    ("text", "kind", "retryable"),
    [
        ("manifest for python:9 not found: manifest unknown: manifest unknown", ImageNotFound, False),
        (
            "pull access denied for x/y, repository does not exist or may require 'docker login': denied: requested "
            "access to the resource is denied",
            ImageNotFound,
            False,
        ),
        ("Head https://ghcr.io/v2/a/manifests/1: unauthorized", ImagePullFailed, False),
        ("toomanyrequests: You have reached your pull rate limit", ImagePullFailed, True),
        ('Get "https://r.example/v2/": dial tcp: lookup r.example on 1.1.1.1:53: no such host', ImagePullFailed, True),
        ("something new", ImagePullFailed, True),
    ],
)
def test_a_refused_pull_is_explained(text: str, kind: type[Exception], retryable: bool) -> None:
    failure = pull_failure(parse("x/y:9"), EngineRefused("pull", 500, text), with_credentials=False)
    assert type(failure) is kind
    assert failure.retryable is retryable
    assert text in failure.message


def test_what_init_could_not_execute_is_told_apart() -> None:
    assert "no command 'python3'" in init_failure("python3", "No such file or directory")
    assert "cannot be executed: Permission denied" in init_failure("/x", "Permission denied")
