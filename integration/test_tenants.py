"""Two tenants on one daemon and one engine, at the same time, by the command line: each works in a workspace of its own
and sees its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from integration.daemon import Daemon, agent, daemon_beside, say, shell
from integration.lab import DockerEngine, Lab
from integration.lab.preparation import PYTHON_IMAGE

TOKENS = {"acme": "token-of-acme-0123456789", "globex": "token-of-globex-0123456789"}
WORKSPACE = {"name": "workspace", "mount_path": "/workspace", "storage_class": "persistent"}
WORK = "ls; echo -n of $WHO >whose; cat whose; df -P . | tail -1"
NOT_FOUND, NOT_ALLOWED = 3, 4


@pytest.fixture(scope="module")
def daemon(lab: Lab, docker_engine: DockerEngine) -> Iterator[Daemon]:
    tenants = {name: {"tokens": [token]} for name, token in TOKENS.items()}
    with daemon_beside(docker_engine, lab.export_directory("tenants"), api={"tenants": tenants}) as daemon:
        daemon.start()
        daemon.script("worker", [shell(WORK), say("done")])
        yield daemon
        daemon.stop()


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def told(daemon: Daemon, tenant: str, *arguments: str) -> Any:
    result = daemon.cli(*arguments, "--output", "json", token=TOKENS[tenant])
    assert result.returncode == 0, result.text
    return json.loads(result.stdout)


def execute(daemon: Daemon, tenant: str) -> Any:
    """The same agent by name, with another word in its environment; what the command line shows of it at the end."""
    manifest = agent("worker", PYTHON_IMAGE, volumes=[WORKSPACE], environment={"WHO": tenant})
    result = daemon.cli("task", "execute", daemon.file(f"{tenant}.yaml", manifest), "--follow", token=TOKENS[tenant])
    assert result.returncode == 0, result.text
    [mine] = told(daemon, tenant, "task", "list")
    return told(daemon, tenant, "task", "status", mine["id"])


def test_two_tenants_work_at_the_same_time_and_see_their_own(daemon: Daemon) -> None:
    with ThreadPoolExecutor(2) as pool:
        acme, globex = pool.map(lambda tenant: execute(daemon, tenant), TOKENS)
    assert [each["state"] for each in (acme, globex)] == ["completed", "completed"]
    assert max(acme["started_at"], globex["started_at"]) < min(acme["ended_at"], globex["ended_at"]), "one by one"
    for tenant, mine, others in (("acme", acme, globex), ("globex", globex, acme)):
        [volume] = told(daemon, tenant, "volume", "list")
        assert volume["export_path"].startswith(f"/{tenant}/")
        assert (daemon.volume_directory(volume) / "whose").read_text() == f"of {tenant}"
        [command] = [
            each["data"]
            for each in daemon.call("GET", f"/v1/executions/{mine['id']}/events", token=TOKENS[tenant]).ok()["items"]
            if each["kind"] == "dispatch.completed"
        ]
        # An empty workspace at first, and the mount in the container is the tenant's own export.
        assert command["stdout"].startswith(f"of {tenant}"), command
        assert f":{volume['export_path']}" in command["stdout"]
        for what in (["task", "status"], ["task", "logs"], ["task", "cancel"]):
            refused = daemon.cli(*what, others["id"], token=TOKENS[tenant])
            assert refused.returncode == NOT_FOUND, (what, refused.text)
    [of_acme], [of_globex] = (told(daemon, tenant, "volume", "list") for tenant in TOKENS)
    assert daemon.cli("volume", "show", of_acme["id"], token=TOKENS["globex"]).returncode == NOT_FOUND
    assert daemon.cli("volume", "delete", "--yes", of_acme["id"], token=TOKENS["globex"]).returncode == NOT_FOUND
    files = daemon.call("GET", f"/v1/volumes/{of_globex['id']}/files/whose", token=TOKENS["acme"])
    assert files.status == 404
    # The node's own tenant is a third one.
    assert json.loads(daemon.cli("task", "list", "--output", "json").stdout) == []
    assert daemon.call("GET", "/metrics", token=TOKENS["acme"]).status == 403
    assert (
        daemon.cli("bundle", "save", "x.tar", "--image", PYTHON_IMAGE, token=TOKENS["acme"]).returncode == NOT_ALLOWED
    )
    for tenant, volume in (("acme", of_acme), ("globex", of_globex)):
        assert daemon.cli("volume", "delete", "--yes", volume["id"], token=TOKENS[tenant]).returncode == 0
