"""What users run: the daemon as an ordinary user on the engine's own machine, Docker by its socket, mounts by loopback,
containers on an internal network with the daemon's proxy as the only way out.

The machine is an emulated guest here, in which a daemon takes a minute to start; so there is one daemon, and an agent
looks at everything that a container with its network policy could reach.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from integration.daemon import agent, call, say
from integration.lab import DockerEngine
from integration.lab.network import HOST as OUTSIDE
from integration.lab.preparation import PYTHON_IMAGE
from integration.lab.process import Logged

USER, DOCKER_GROUP = 990, 999
READY_SECONDS = 240.0
RUN_SECONDS = 240.0
BRIDGE = "10.97.0.1"
LISTENER_PORT = 99

# What an agent's program can find out about its network. A connection that is accepted and cut before a byte of an
# answer is "nothing".
LOOK = f"""
import json, os, socket, time, urllib.error, urllib.request
def tcp(host, port, say=b"GET / HTTP/1.0\\r\\n\\r\\n"):
    try:
        with socket.create_connection((host, port), 5) as peer:
            peer.sendall(say)
            return peer.recv(400).decode("latin-1").split("\\r\\n")[0] or "nothing"
    except ConnectionError:
        return "nothing"
    except OSError as error:
        return "no way"
def http(url):
    try:
        return urllib.request.urlopen(url, timeout=20).read().decode()
    except urllib.error.HTTPError as error:
        return f"{{error.code}} {{error.read().decode()}}"
    except OSError as error:
        return str(error)
def status(path):
    try:
        return urllib.request.urlopen("http://{BRIDGE}:8080" + path, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
def name(host):
    try:
        return str(socket.getaddrinfo(host, 80))
    except OSError:
        return "unknown"
NULL = bytes.fromhex("80000028 00000001 00000000 00000002 000186a3 00000003 00000000" + "00000000" * 4)
seen = {{
    "outside": tcp("{OUTSIDE}", 80),
    "proxy without credentials": tcp("{BRIDGE}", 3128, b"CONNECT a.test:80 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")[:12],
    "name": name("allowed.test"),
    "ipv6": [line for line in open("/proc/net/if_inet6") if line.split()[-1] != "lo"],
    "told of a proxy": sorted(key for key in os.environ if key.lower() == "https_proxy"),
    "live": status("/health/live"),
}}
"""
NONE = """
open("/workspace/written", "w").write("by the agent")
seen |= {
    "nfs on the bridge": tcp("@BRIDGE@", 2049, NULL), "nfs on docker0": tcp("172.17.0.1", 2049, NULL) == "answered",
    "agents": status("/v1/agents"), "executions": status("/v1/executions"),
    "uid": os.getuid(), "owner": os.stat("/workspace/written").st_uid,
    "mount": next(line.split()[2:4] for line in open("/proc/mounts") if " /workspace " in line),
    "capabilities": next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")),
}
print(json.dumps(seen))
""".replace("@BRIDGE@", BRIDGE)
ALLOWED = """
seen |= {
    "allowed": http("http://allowed.test/hello"), "refused": http("http://refused.test/hello"),
    "refused tunnel": http("https://refused.test/"), "by address": http("http://@OUTSIDE@/hello"),
    "metadata": http("http://metadata.test/"), "other container": tcp("@OTHER@", @PORT@),
}
print(json.dumps(seen))
"""
# The specification page's own form: `storage:` at the top, and its listening address.
CONFIG = {
    "storage": {"nfs_listen_addr": "0.0.0.0:2049"},
    "node": {"state_directory": "/tmp/state"},
    "egress": {"allow_addresses": [OUTSIDE]},  # the lab's outside has a private address
    "models": {"default": {"provider": "script", "script": "/tmp/script.yaml"}},
}
HOSTS = f"127.0.0.1 localhost\n{OUTSIDE} allowed.test refused.test\n169.254.169.254 metadata.test\n"


@dataclass
class Node:
    """The daemon on the engine's own machine, spoken to by the command line there."""

    engine: DockerEngine
    process: Logged

    def run(self, name: str, script: str, policy: dict[str, Any], *fetched: str) -> list[dict[str, Any]]:
        """One agent, which has the daemon fetch URLs and runs a Python script; its events."""
        visits = [call("web.fetch", url=url) for url in fetched]
        turns = [*visits, call("cmd.run", command="python3", args=["-c", script]), say("seen")]
        put(self.engine, "script.yaml", yaml.safe_dump({"agents": {name: {"iterations": [{"turns": turns}]}}}))
        manifest = agent(
            name,
            PYTHON_IMAGE,
            resources={"cpu_quota": 1.0, "memory_bytes": 268435456, "timeout_secs": 200},
            security={"network_policy": policy},
            tools=["cmd.run", "web.fetch"],
            volumes=[{"name": "workspace", "mount_path": "/workspace", "storage_class": "persistent"}],
        )
        put(self.engine, "agent.yaml", yaml.safe_dump(manifest))
        done = self.engine.daemon_host.run(
            [*self.engine.python.argv, "-m", "aegis", "task", "execute", "/tmp/agent.yaml", "--follow", "-o", "json"],
            uid=USER,
            env={**self.engine.python.env, "HOME": "/tmp", "STATE_DIRECTORY": "/tmp/state"},
            timeout=RUN_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.process.output().encode()
        return [json.loads(line) for line in done.text.splitlines() if line.startswith('{"')]


def put(engine: DockerEngine, name: str, text: str) -> None:
    command = ["sh", "-c", f"cat >/tmp/{name}; chmod 644 /tmp/{name}"]
    engine.daemon_host.run(command, input=text.encode(), timeout=30).check()


def data_of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event.get("kind") == kind]


def printed(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the agent's script has seen."""
    [done] = data_of(events, "dispatch.completed")
    assert done["exit_code"] == 0, done
    seen: dict[str, Any] = json.loads(done["stdout"])
    return seen


@pytest.fixture(scope="module")
def node(all_in_one: DockerEngine) -> Iterator[Node]:
    """Afterwards it is stopped, and nothing of it is left on the engine."""
    put(all_in_one, "config.yaml", yaml.safe_dump(CONFIG))
    put(all_in_one, "script.yaml", yaml.safe_dump({"iterations": [{"turns": [say("nothing to do")]}]}))
    process = all_in_one.daemon_host.popen(
        [*all_in_one.python.argv, "-m", "aegis", "daemon", "--config", "/tmp/config.yaml"],
        uid=USER,
        groups=[DOCKER_GROUP],
        env={**all_in_one.python.env, "HOME": "/tmp"},
        name="daemon",
    )
    assert isinstance(process, Logged)
    process.wait_for_line("containers can run", READY_SECONDS)
    yield Node(all_in_one, process)
    assert process.poll() is None
    process.send_signal(15)
    assert process.wait(60) == 0, process.output()
    managed = 'filters={"label":["aegis.managed=true"]}'
    assert all_in_one.api.call("GET", f"/containers/json?all=1&{managed}") == []
    assert not all_in_one.api.call("GET", f"/volumes?{managed}")["Volumes"]
    assert all_in_one.api.call("GET", f"/networks?{managed}") == []


def test_an_agent_without_a_network_reaches_its_workspace_its_dispatch_and_nothing_else(
    all_in_one: DockerEngine, node: Node
) -> None:
    events = node.run("prober", LOOK + NONE, {"mode": "none"})
    seen = printed(events)
    kind, options = seen.pop("mount")
    assert kind == "nfs" and "vers=3" in options and "addr=127.0.0.1" in options
    assert seen == {
        "outside": "no way",
        "proxy without credentials": "HTTP/1.1 407",
        "name": "unknown",
        "ipv6": [],
        "told of a proxy": [],
        "live": 200,
        "nfs on the bridge": "nothing",
        "nfs on docker0": False,
        "agents": 404,  # the listener that containers reach has the dispatch routes only
        "executions": 404,
        "uid": 1000,
        "owner": 1000,
        "capabilities": "0000000000000000",
    }
    written = all_in_one.guest_shell("stat -c '%u %s' /tmp/state/volumes/*/*/data/written").check().text
    assert written == f"{USER} {len('by the agent')}"
    assert not [event for event in events if event.get("kind", "").startswith("network.")]


def test_an_agent_with_an_allowlist_reaches_what_it_names_and_is_told_of_the_rest_by_name(
    all_in_one: DockerEngine, node: Node
) -> None:
    if all_in_one.native:
        pytest.skip("the names would have to be put into this machine's own /etc/hosts")
    command = ["sh", "-c", "cat >/etc/hosts; echo 'hosts: files' >/etc/nsswitch.conf"]
    all_in_one.daemon_host.run(command, input=HOSTS.encode(), timeout=30).check()
    [network] = all_in_one.api.call("GET", '/networks?filters={"label":["aegis.managed=true"]}')
    assert network["Internal"] and network["Name"] == "aegis"
    assert network["IPAM"]["Config"] == [{"Subnet": "10.97.0.0/22", "Gateway": BRIDGE}]
    with listening_container(all_in_one) as other, outside_server(all_in_one):
        words = {"@OUTSIDE@": OUTSIDE, "@OTHER@": other, "@PORT@": str(LISTENER_PORT)}
        script = ALLOWED
        for word, value in words.items():
            script = script.replace(word, value)
        policy = {"mode": "allow", "allowlist": ["allowed.test", "metadata.test"]}
        urls = [f"http://{name}.test/hello" for name in ("allowed", "refused", "metadata")]
        events = node.run("walker", LOOK + script, policy, *urls)
        by_host = f"import socket; print(socket.create_connection(('{other}', {LISTENER_PORT}), 20).recv(9).decode())"
        python = all_in_one.python
        reached = all_in_one.daemon_host.run([*python.argv, "-c", by_host], env=python.env, timeout=60)
        assert reached.text == "hello", reached.stderr  # it listens, and only containers are kept from it
    fetched = [each["result"] for each in data_of(events, "tool.completed") if each["name"] == "web.fetch"]
    assert "status: 200" in fetched[0] and fetched[0].endswith("hello from outside\n")
    assert "it leads to 169.254.169.254, a link-local address" in fetched[1]
    assert "refused.test" in data_of(events, "tool.denied")[0]["reason"]  # by the policy of tool calls already
    [done] = data_of(events, "dispatch.completed")
    assert f"{OUTSIDE}:80 is refused" in " ".join(done["remarks"])  # also where a program shows nothing of it
    seen = printed(events)
    assert seen.pop("allowed") == "hello from outside\n"
    refused = seen.pop("refused")
    assert refused.startswith("403 aegis: refused.test:80 is refused: not on security.network.allowlist: allowed.test")
    assert "To allow it, add refused.test to spec.security.network_policy.allowlist" in refused
    assert "403 Forbidden by aegis - refused.test:443 is refused" in seen.pop("refused tunnel")
    assert f"{OUTSIDE}:80 is refused" in seen.pop("by address")
    assert "it leads to 169.254.169.254, a link-local address" in seen.pop("metadata")
    assert seen == {
        "outside": "no way",
        "proxy without credentials": "HTTP/1.1 407",
        "name": "unknown",
        "ipv6": [],
        "told of a proxy": ["HTTPS_PROXY", "https_proxy"],
        "live": 200,  # past the proxy, as NO_PROXY says
        "other container": "no way",
    }
    allowed = data_of(events, "network.allowed")
    assert {each["host"] for each in allowed} == {"allowed.test"}
    assert sum(each["connections"] for each in allowed) == 2  # the tool's and the program's
    assert sum(each.get("bytes_received", 0) for each in allowed) > len("hello from outside\n")
    denied = {(each["host"], each["port"]) for each in data_of(events, "network.denied")}
    assert denied == {("refused.test", 80), ("refused.test", 443), (OUTSIDE, 80), ("metadata.test", 80)}
    assert events[-1]["kind"] == "execution.completed"  # every decision is told before it


@contextmanager
def listening_container(engine: DockerEngine) -> Iterator[str]:
    """A container on the agents' network with a server in it; its address."""
    script = (
        f"import socket; s = socket.create_server(('', {LISTENER_PORT}))\nwhile True: s.accept()[0].sendall(b'hello')"
    )
    config = {"Image": PYTHON_IMAGE, "Cmd": ["python3", "-c", script], "HostConfig": {"NetworkMode": "aegis"}}
    path = f"/containers/{engine.api.call('POST', '/containers/create', config)['Id']}"
    try:
        engine.api.call("POST", f"{path}/start")
        settings = engine.api.call("GET", f"{path}/json")["NetworkSettings"]
        yield str(settings["Networks"]["aegis"]["IPAddress"])
    finally:
        engine.api.call("DELETE", path, query={"force": "1"})


SERVER = f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello from outside\\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("{OUTSIDE}", 80), Handler).serve_forever()
"""


@contextmanager
def outside_server(engine: DockerEngine) -> Iterator[None]:
    """A web server beyond the engine's machine."""
    server = engine.network.popen(["/usr/bin/python3", "-I", "-c", SERVER], name="outside")
    try:
        engine.network.wait_for_port(OUTSIDE, 80, 30, server)
        yield
    finally:
        server.close()
