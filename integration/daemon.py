"""A daemon of a test's own: `python -m aegis daemon` as an ordinary user, spoken to by HTTP and by the command line.

    with Daemon(network, python, home, config) as daemon:
        daemon.start()
        daemon.script("greeter", [say("hello")])
        execution = daemon.run(agent("greeter"))
        assert execution.state == "completed"

Nothing of `aegis` is imported. The model is the provider `script`, whose file the test writes, so that what an agent's
container does is in the test itself. Waiting is for events of the daemon's own stream, never for time to pass.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import yaml

from integration.beside import node_config
from integration.lab import DockerEngine, LabError, Network, Process, Result
from integration.lab.errors import tail
from integration.lab.servers import SERVER_UID
from integration.lab.user_python import UserPython

READY_SECONDS = 90.0
STOP_SECONDS = 60.0
CALL_SECONDS = 60.0
RUN_SECONDS = 300.0
READY_POLL_SECONDS = 0.1
ENDED = ("execution.completed", "execution.failed", "execution.cancelled")
FINAL_STATES = ("completed", "failed", "cancelled")
TENANT = "lab"

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One answer of the API; `document` is its JSON, or None where it is none."""

    status: int
    document: Any
    body: bytes

    def ok(self) -> Any:
        """The document of a success; AssertionError with the daemon's own words otherwise."""
        assert self.status < 400, f"HTTP {self.status}: {self.body.decode('utf-8', 'replace')}"
        return self.document


@dataclass(frozen=True)
class Execution:
    """One execution as the API shows it, with all its events."""

    view: Json
    events: list[Json]

    @property
    def id(self) -> str:
        return str(self.view["id"])

    @property
    def state(self) -> str:
        return str(self.view["state"])

    @property
    def iterations(self) -> list[Json]:
        return list(self.view["iterations"])

    def of(self, kind: str) -> list[Json]:
        """The data of the events of one kind, in order."""
        return [event["data"] for event in self.events if event["kind"] == kind]

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]

    def said(self) -> str:
        """What an assertion should show when it fails."""
        shown = [{key: event[key] for key in ("kind", "iteration", "data")} for event in self.events[-40:]]
        brief = {key: self.view[key] for key in ("state", "error_code", "error", "output")}
        return json.dumps({**brief, "events": shown}, indent=1)


class Daemon:
    """One configuration and its state directory; the process comes and goes. Leaving the `with` kills it."""

    def __init__(
        self, network: Network, python: UserPython, home: Path, config: Mapping[str, Any], groups: Sequence[int] = ()
    ) -> None:
        """`home`: an empty directory that belongs to the ordinary user. `config`: a node's configuration; what it does
        not name is settled here: state below `home`, the tenant `lab`, the script as the model `default`."""
        self.network = network
        self._groups = groups
        self.home = home
        self.state = home / "state"
        self._python = python
        self._scripts: dict[str, Json] = {"*": {"iterations": [{"turns": [{"content": "done"}]}]}}
        self._config = dict(config)
        self._config["node"] = {"state_directory": str(self.state), "tenant_id": TENANT, **config.get("node", {})}
        self._config.setdefault("models", {"default": {"provider": "script", "script": str(home / "script.yaml")}})
        host, _, port = str(self._config["api"]["listen"][0]).rpartition(":")
        self.address = (host, int(port))
        self.process: Process | None = None
        self._write("config.yaml", self._config)
        self._write("script.yaml", {"agents": self._scripts})

    def configure(self, section: str, **values: Any) -> None:
        """Change a section of the configuration, for the next start."""
        self._config[section] = {**self._config.get(section, {}), **values}
        self._write("config.yaml", self._config)

    # ---- its life ----

    def start(self, ready: int = 200) -> None:
        """Returns when /health/ready answers 200, which is every dependency, or 503, which is some; LabError with its
        log when it ends before that."""
        self.spawn()
        deadline = time.monotonic() + READY_SECONDS
        while (answer := self.health("/health/ready")) is None or answer.status != ready:
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                said = "" if answer is None else answer.body.decode("utf-8", "replace")
                raise LabError(f"the daemon is not ready: {said}\n{self.log()}")
            time.sleep(READY_POLL_SECONDS)

    def spawn(self) -> Process:
        """Start the process and wait for nothing."""
        if self.process is not None:
            assert self.process.poll() is not None, "it runs already"
            self.process.close()
        self.process = self.network.popen(
            [*self._python.argv, "-m", "aegis", "daemon", "--config", str(self.home / "config.yaml")],
            uid=SERVER_UID,
            groups=self._groups,
            env=self._environment(),
            cwd=self._python.cwd,
            name=f"daemon-{self.home.name}",
        )
        return self.process

    def refused(self, timeout: float = READY_SECONDS) -> str:
        """What it says while it does not start: it has to end by itself, and not with success."""
        code = self.spawn().wait(timeout)
        assert code > 0, f"it ended with {code}\n{self.log()}"  # below 0 is a signal
        said = self.log()
        assert "Traceback" not in said, said
        return said

    def stop(self) -> None:
        """SIGTERM. It has to end in order, and never to have logged a fault of its own."""
        assert self.process is not None
        code = self.process.stop(STOP_SECONDS)
        assert code == 0, f"it ended with {code}\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()

    def log(self) -> str:
        """Everything it has written since its first start."""
        return "" if self.process is None else self.process.output()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.process is not None:
            error.add_note(f"the daemon's last lines:\n{tail(self.process.log)}")
        if self.process is not None:
            self.process.close()

    # ---- the HTTP API ----

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        token: bool | str = True,
    ) -> Answer:
        """One call; bytes are sent as they are, anything else as JSON; `token`: the node's, none, or this one. OSError
        when nothing listens."""
        target = path + ("?" + urlencode(query) if query else "")
        connection = self._connection()
        try:
            headers = self._headers(token)
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        try:
            document = json.loads(content) if content else None
        except ValueError:
            document = None
        return Answer(response.status, document, content)

    def health(self, path: str) -> Answer | None:
        """As `call` without a token; None when nothing listens yet."""
        try:
            return self.call("GET", path, token=self._token_path().exists())
        except (OSError, http.client.HTTPException):
            return None

    def deploy(self, manifest: Mapping[str, Any]) -> str:
        """The id of the deployed agent."""
        return str(self.call("POST", "/v1/agents", yaml.safe_dump(dict(manifest)).encode()).ok()["id"])

    def execute(self, manifest: Mapping[str, Any], input: str = "") -> str:
        """Deploy and start; the execution's id, at once."""
        request = {"agent": self.deploy(manifest), "input": input}
        return str(self.call("POST", "/v1/executions", request).ok()["id"])

    def run(self, manifest: Mapping[str, Any], input: str = "", *, timeout: float = RUN_SECONDS) -> Execution:
        """Deploy, start, and wait for the end."""
        return self.finished(self.execute(manifest, input), timeout=timeout)

    def finished(self, execution: str, *, timeout: float = RUN_SECONDS) -> Execution:
        """The execution once its last event is there, whatever its state."""
        events = list(self.stream(execution, timeout=timeout))
        return Execution(self.show(execution), events)

    def show(self, execution: str) -> Json:
        view: Json = self.call("GET", f"/v1/executions/{execution}").ok()
        return view

    def wait_for(self, execution: str, kind: str, *, timeout: float = RUN_SECONDS) -> Json:
        """The data of the first event of this kind, when it happens. AssertionError when the execution ends without."""
        seen = []
        for event in self.stream(execution, timeout=timeout):
            seen.append(event)
            if event["kind"] == kind:
                data: Json = event["data"]
                return data
        raise AssertionError(f"no {kind} happened: {Execution(self.show(execution), seen).said()}")

    def stream(self, execution: str, *, timeout: float) -> Iterator[Json]:
        """The events from the first, as server-sent events, until the last. LabError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        connection = self._connection()
        try:
            connection.request("GET", f"/v1/executions/{execution}/stream", headers=self._headers(True))
            response = connection.getresponse()
            assert response.status == 200, (response.status, response.read())
            while line := response.readline():
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])
                if time.monotonic() > deadline:
                    raise LabError(f"execution {execution} has not ended in {timeout:.0f} s\n{self.log()[-4000:]}")
        finally:
            connection.close()

    # ---- the command line ----

    def cli(self, *arguments: str, timeout: float = RUN_SECONDS, token: str | None = None) -> Result:
        """`aegis ...` as the daemon's own user, pointed at this daemon; with a token in place of the node's."""
        environment = {
            **self._environment(),
            "AEGIS_API_URL": f"http://{self.address[0]}:{self.address[1]}",
            "AEGIS_API_TOKEN_FILE": str(self._token_path()),
            "NO_COLOR": "1",
            **({} if token is None else {"AEGIS_API_TOKEN": token}),
        }
        argv = [*self._python.argv, "-m", "aegis", *arguments]
        return self.network.run(argv, timeout=timeout, uid=SERVER_UID, env=environment, cwd=self._python.cwd)

    # ---- what it reads, and what it keeps ----

    def told_to_the_model(self, execution: str, iteration: int = 1) -> list[str]:
        """The results of the model's tool calls, as its conversation has them."""
        query = "SELECT state FROM inner_loops WHERE execution_id = ? AND iteration = ?"
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/aegis.db?mode=ro", uri=True)) as database:
            [(state,)] = database.execute(query, (execution, iteration)).fetchall()
        return [each["content"] for each in json.loads(state)["messages"] if each["role"] == "tool"]

    def script(self, agent: str, *iterations: Sequence[Json]) -> None:
        """What the model answers this agent, from its next answer on: one list of turns for each iteration."""
        self._scripts[agent] = {"iterations": [{"turns": list(turns)} for turns in iterations]}
        self._write("script.yaml", {"agents": self._scripts})

    def file(self, name: str, content: str | Mapping[str, Any]) -> str:
        """A file that the daemon's user can read, for the command line; its path."""
        return str(self._write(name, content))

    @property
    def node_id(self) -> str:
        """The label by which this daemon knows its own on an engine."""
        return (self.state / "node-id").read_text().strip()

    def volume_directory(self, volume: Mapping[str, Any]) -> Path:
        """Where the host has a volume's files."""
        return self.state / "volumes" / str(volume["export_path"]).strip("/") / "data"

    def _write(self, name: str, content: str | Mapping[str, Any]) -> Path:
        """By rename, so that the daemon never reads half a file."""
        path = self.home / name
        draft = path.with_name(f".{name}.new")
        draft.write_text(content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False))
        draft.chmod(0o644)
        draft.rename(path)
        return path

    def _token_path(self) -> Path:
        return self.state / "api-token"

    def _headers(self, token: bool | str) -> dict[str, str]:
        if isinstance(token, str):
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": f"Bearer {self._token_path().read_text().strip()}"} if token else {}

    def _connection(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*self.address, timeout=CALL_SECONDS)
        connection.sock = self.network.connect(*self.address)
        connection.sock.settimeout(CALL_SECONDS)
        return connection

    def _environment(self) -> dict[str, str]:
        return {**self._python.env, "HOME": str(self.home), "PYTHONFAULTHANDLER": "1"}


# ---- what a scripted model answers ----


def say(content: str) -> Json:
    """A turn without calls: the iteration's final response."""
    return {"content": content}


def call(tool: str, **arguments: Any) -> Json:
    """A turn that calls one tool."""
    return {"content": "", "tool_calls": [{"name": tool, "arguments": arguments}]}


def shell(script: str, timeout_seconds: float = 300) -> Json:
    """A turn that runs a shell script in the container, in the workspace; it ends at the first failure."""
    return call("cmd.run", command="bash", args=["-ec", script], timeout_seconds=timeout_seconds)


def agent(name: str, image: str, **spec: Any) -> Json:
    """A manifest: one-shot unless `execution` says otherwise; `spec` is merged into its spec."""
    plan: Json = {
        "runtime": {"image": image},
        "task": {"instruction": f"The task of {name}"},
        "execution": {"mode": "one-shot"},
        **spec,
    }
    return {"apiVersion": "100monkeys.ai/v1", "kind": "Agent", "metadata": {"name": name}, "spec": plan}


# ---- a daemon beside an engine ----


def daemon_beside(engine: DockerEngine, home: Path, **changes: Mapping[str, Any] | Sequence[Any]) -> Daemon:
    """Not yet started, in the topology "beside"; `changes` are merged into the sections of its configuration, a list
    takes the place of one."""
    config = node_config(engine)
    for section, values in changes.items():
        config[section] = {**config.get(section, {}), **values} if isinstance(values, Mapping) else list(values)
    groups = [engine.socket.stat().st_gid] if engine.native else []
    return Daemon(engine.network, engine.python, home, config, groups)


def left_over(engine: DockerEngine, daemon: Daemon) -> list[str]:
    """Containers, volumes (but the daemon's own, which holds bootstrap) and mounts of this daemon on the engine."""
    filters = {"filters": json.dumps({"label": [f"aegis.node_id={daemon.node_id}"]})}
    containers = engine.api.call("GET", "/containers/json", query={"all": "1", **filters})
    volumes = engine.api.call("GET", "/volumes", query=filters)["Volumes"] or []
    found = [f"container {each['Names'][0]}" for each in containers]
    found += [f"volume {each['Name']}" for each in volumes if "aegis.files" not in (each["Labels"] or {})]
    mounts = engine.guest_shell("cat /proc/mounts").check().text
    return found + [f"mount {line}" for line in re.findall(rf"^\S*:/{TENANT}/.*$", mounts, re.MULTILINE)]


def unfinished(daemon: Daemon) -> list[str]:
    """Executions and iterations without a true final state."""
    found = []
    for each in daemon.call("GET", "/v1/executions", query={"limit": "1000"}).ok()["items"]:
        view = daemon.show(each["id"])
        if view["state"] not in FINAL_STATES or view["ended_at"] is None:
            found.append(f"execution {view['id']} is {view['state']}")
        found += [f"iteration {i['number']} of {view['id']}" for i in view["iterations"] if i["ended_at"] is None]
    return found
