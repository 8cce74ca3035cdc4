"""What users run: the daemon as an ordinary user on the engine's own machine, Docker by its socket, mounts by loopback.

The machine is an emulated guest here, in which a daemon takes a minute to start; so there is one daemon and one agent,
and the agent looks at everything a container could reach.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from integration.lab import DockerEngine
from integration.lab.preparation import PYTHON_IMAGE
from integration.lab.process import Logged

USER, DOCKER_GROUP = 990, 999
READY_SECONDS = 240.0
RUN_SECONDS = 240.0
BRIDGE = "10.97.0.1"

# Printed as one JSON object. A connection that is accepted and cut before a byte of an answer is "nothing".
PROBE = f"""
import json, os, socket, urllib.error, urllib.request
def tcp(host, port):
    call = bytes.fromhex("80000028 00000001 00000000 00000002 000186a3 00000003 00000000" + "00000000" * 4)
    try:
        with socket.create_connection((host, port), 5) as peer:
            peer.sendall(call)
            return "answered" if peer.recv(4) else "nothing"
    except ConnectionError:
        return "nothing"
    except OSError as error:
        return type(error).__name__
def http(path):
    try:
        return urllib.request.urlopen("http://{BRIDGE}:8080" + path, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
open("/workspace/written", "w").write("by the agent")
print(json.dumps({{
    "nfs on the bridge": tcp("{BRIDGE}", 2049), "nfs on docker0": tcp("172.17.0.1", 2049),
    "live": http("/health/live"), "agents": http("/v1/agents"), "executions": http("/v1/executions"),
    "uid": os.getuid(), "owner": os.stat("/workspace/written").st_uid,
    "mount": next(line.split()[2:4] for line in open("/proc/mounts") if " /workspace " in line),
    "capabilities": next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")),
}}))
"""

MANIFEST = {
    "apiVersion": "100monkeys.ai/v1",
    "kind": "Agent",
    "metadata": {"name": "prober"},
    "spec": {
        "runtime": {"image": PYTHON_IMAGE},
        "task": {"instruction": "Look around."},
        "resources": {"cpu_quota": 1.0, "memory_bytes": 268435456, "timeout_secs": 200},
        "volumes": [{"name": "workspace", "mount_path": "/workspace", "storage_class": "persistent"}],
        "execution": {"mode": "one-shot"},
    },
}
SCRIPT = {
    "iterations": [
        {
            "turns": [
                {"tool_calls": [{"name": "cmd.run", "arguments": {"command": "python3", "args": ["-c", PROBE]}}]},
                {"content": "seen"},
            ]
        }
    ]
}
# The specification page's own form: `storage:` at the top, and its listening address.
CONFIG = {
    "storage": {"nfs_listen_addr": "0.0.0.0:2049"},
    "node": {"state_directory": "/tmp/state"},
    "models": {"default": {"provider": "script", "script": "/tmp/script.yaml"}},
}


def test_an_agent_on_the_daemons_own_machine_reaches_its_workspace_its_dispatch_and_nothing_else(
    all_in_one: DockerEngine, tmp_path: Path
) -> None:
    host = all_in_one.daemon_host
    for name, document in (("config", CONFIG), ("script", SCRIPT), ("agent", MANIFEST)):
        text = yaml.safe_dump(document).encode()
        host.run(["sh", "-c", f"cat >/tmp/{name}.yaml; chmod 644 /tmp/{name}.yaml"], input=text, timeout=30).check()

    aegis = [*all_in_one.python.argv, "-m", "aegis"]
    environment = {**all_in_one.python.env, "HOME": "/tmp"}
    daemon = host.popen(
        [*aegis, "daemon", "--config", "/tmp/config.yaml"],
        uid=USER,
        groups=[DOCKER_GROUP],
        env=environment,
        name="daemon",
    )
    assert isinstance(daemon, Logged)
    daemon.wait_for_line("containers can run", READY_SECONDS)
    run = host.run(
        [*aegis, "task", "execute", "/tmp/agent.yaml", "--follow", "--output", "json"],
        uid=USER,
        env={**environment, "STATE_DIRECTORY": "/tmp/state"},
        timeout=RUN_SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr + daemon.output().encode()

    events = [json.loads(line) for line in run.text.splitlines() if line.startswith('{"')]
    [printed] = [event["data"]["stdout"] for event in events if event.get("kind") == "dispatch.completed"]
    seen = json.loads(printed)
    kind, options = seen.pop("mount")
    assert kind == "nfs" and "vers=3" in options and "addr=127.0.0.1" in options
    assert seen == {
        "nfs on the bridge": "nothing",
        "nfs on docker0": "nothing",
        "live": 200,
        "agents": 404,  # the listener that containers reach has the dispatch routes only
        "executions": 404,
        "uid": 1000,
        "owner": 1000,
        "capabilities": "0000000000000000",
    }
    written = all_in_one.guest_shell("stat -c '%u %s' /tmp/state/volumes/*/*/data/written").check().text
    assert written == f"{USER} {len('by the agent')}"
    assert daemon.poll() is None
    daemon.send_signal(15)
    assert daemon.wait(60) == 0, daemon.output()
    managed = 'filters={"label":["aegis.managed=true"]}'
    assert all_in_one.api.call("GET", f"/containers/json?all=1&{managed}") == []
    assert not all_in_one.api.call("GET", f"/volumes?{managed}")["Volumes"]
    assert all_in_one.api.call("GET", f"/networks?{managed}") == []
