"""What is sent to the engine, word for word: the deployment page's mount, and the whole of a container."""

from __future__ import annotations

import io
import tarfile

import pytest

from aegis.adapters.docker import files
from aegis.adapters.docker.payloads import container_config, mount_config, network_config, volume_config
from tests.support.specs import container_spec, nfs_mount

HOST = "172.17.0.1"
PAGE_OPTIONS = {
    "type": "nfs",
    "o": f"addr={HOST},nfsvers=3,proto=tcp,soft,timeo=10,nolock",
    "device": ":/acme/0d5f",
}
MOUNT = nfs_mount(volume_name="unique", address=HOST, export_path="/acme/0d5f", options=PAGE_OPTIONS["o"])


def test_a_mount_is_the_deployment_pages_example_and_what_makes_it_safe() -> None:
    assert mount_config(MOUNT, {"aegis.execution_id": "e"}) == {
        "Target": "/workspace",
        "Type": "volume",
        "Source": "unique",
        "VolumeOptions": {
            "NoCopy": True,
            "Labels": {"aegis.execution_id": "e", "aegis.managed": "true"},
            "DriverConfig": {"Name": "local", "Options": PAGE_OPTIONS},
        },
    }


def test_a_volume_is_made_with_the_very_options_its_mount_names() -> None:
    assert volume_config(MOUNT, {}) == {
        "Name": "unique",
        "Driver": "local",
        "DriverOpts": PAGE_OPTIONS,
        "Labels": {"aegis.managed": "true"},
    }


def test_a_read_only_mount_says_so() -> None:
    assert mount_config(nfs_mount(read_only=True), {})["ReadOnly"] is True


def test_a_container_is_limited_and_unprivileged() -> None:
    spec = container_spec(
        image="python:3.11",
        command=("python3", "/aegis/bootstrap.py"),
        environment={"AEGIS_ITERATION": "1"},
        uid=1234,
        gid=567,
        cpu_quota=1.0,
        memory_bytes=1073741824,
        pids_limit=512,
        network="aegis-internal",
        mounts=(MOUNT,),
        labels={"aegis.execution_id": "e", "aegis.iteration": "1", "aegis.tenant_id": "acme"},
        working_directory="/workspace",
    )
    assert container_config(spec) == {
        "Image": "python:3.11",
        "Entrypoint": [""],
        "Cmd": ["python3", "/aegis/bootstrap.py"],
        "Env": ["AEGIS_ITERATION=1"],
        "User": "1234:567",
        "WorkingDir": "/workspace",
        "Labels": {
            "aegis.managed": "true",
            "aegis.container_kind": "agent",
            "aegis.execution_id": "e",
            "aegis.iteration": "1",
            "aegis.tenant_id": "acme",
        },
        "HostConfig": {
            "NanoCpus": 1_000_000_000,
            "Memory": 1073741824,
            "MemorySwap": 1073741824,
            "PidsLimit": 512,
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}},
            "NetworkMode": "aegis-internal",
            "Mounts": [mount_config(MOUNT, spec.labels)],
            "RestartPolicy": {"Name": "no"},
        },
    }


def test_no_network_and_no_command_are_said_in_dockers_words() -> None:
    config = container_config(container_spec(network=None, command=()))
    assert config["HostConfig"]["NetworkMode"] == "none"
    assert "Entrypoint" not in config
    assert "Cmd" not in config


def test_name_servers_are_given_where_there_are_any() -> None:
    assert "Dns" not in container_config(container_spec())["HostConfig"]
    assert container_config(container_spec(resolvers=("127.0.0.1",)))["HostConfig"]["Dns"] == ["127.0.0.1"]


def test_no_label_of_the_caller_takes_a_container_out_of_our_care() -> None:
    config = container_config(container_spec(labels={"aegis.managed": "false"}, kind="validator"))
    assert config["Labels"] == {"aegis.managed": "true", "aegis.container_kind": "validator"}


def test_a_network_has_an_explicit_subnet_with_the_host_first() -> None:
    config = network_config("aegis", internal=True, isolated=True, labels={}, subnet="10.213.4.0/24")
    assert config["IPAM"]["Config"] == [{"Subnet": "10.213.4.0/24", "Gateway": "10.213.4.1"}]
    assert config["Internal"] is True
    assert config["EnableIPv6"] is False  # whatever the engine's default is: it would be a way past the proxy
    assert config["Options"] == {"com.docker.network.bridge.enable_icc": "false"}
    assert "IPAM" not in network_config("aegis", internal=True, isolated=True, labels={}, subnet=None)


def test_the_archive_is_roots_unwritable_and_the_same_every_time() -> None:
    content = {"/aegis/run": b"#!/bin/sh\n", "/aegis/data": b"x"}
    archive = files.archive(content)
    assert archive == files.archive(dict(reversed(content.items())))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        entries = {entry.name: (entry.mode, entry.uid, entry.gid, entry.mtime) for entry in tar}
    assert entries == {"aegis/data": (0o444, 0, 0, 0), "aegis/run": (0o555, 0, 0, 0)}


@pytest.mark.parametrize("path", ["aegis/bootstrap.py", "/aegis/../etc/passwd", "/etc/passwd"])
def test_a_path_that_leaves_its_place_is_our_own_mistake(path: str) -> None:
    with pytest.raises(ValueError, match="wanted is one in /aegis/"):
        files.archive({path: b""})
