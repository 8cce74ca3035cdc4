"""Secrets stay where they are: unique values planted wherever one can come from, executions that go well and badly, and
then nothing that came out of it holds any of them.

With the real configuration, model adapter, tool server, bootstrap, API and database; only engine and NFS are fakes. The
same with a real engine: integration/test_tool_servers.py.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from aegis import logs
from aegis.adapters.mcp import McpServers
from aegis.config.load import LoadedConfig, read_config
from aegis.daemon.parts import agent_secrets, models, open_secrets, secrets_of, tool_servers
from aegis.documents import ConfigError
from aegis.logs import configure_logging, hide_also
from aegis.services.server_tools import ServerTools
from tests.aegis.adapters.llm.test_contract import openai_answer
from tests.aegis.services.test_over_http import Node, node
from tests.support.fake_openbao import ROLE_ID, SECRET_ID, Store, serving
from tests.support.fake_providers import FakeOpenAI, Fault, serve

ROOT = str(Path(__file__).parents[2])
STORED = "planted-in-the-store"
PLANTED = {
    "a key from the store": f"sk-{STORED}-0123456789",
    "a token from the store": f"{STORED}-for-the-tool-server",
    "a text from the store, in a place that is no secret": f"{STORED}-as-a-name",
    "an agent's password from the store": f"{STORED}-for-the-agent",
    "a password in the file": "planted-in-the-file-password",
    "an API token from the environment": "planted-in-the-environment-token",
    "a password in a URL": "planted-in-the-database-url",
    "the AppRole's secret id": SECRET_ID,
    "the AppRole's role id": ROLE_ID,
    "the store's own token": "s.token-number-",
}


def config(store: Store, provider_url: str) -> str:
    key, token, name = list(PLANTED.values())[:3]
    store.secrets = {"models": {"key": key}, "tools": {"token": token}, "node": {"name": name}}
    store.secrets["agents/db"] = {"password": PLANTED["an agent's password from the store"]}
    return yaml.safe_dump(
        {
            "node": {"name": "secret:node#name"},
            "secrets": {
                "address": store.url,
                "role_id": ROLE_ID,
                "secret_id": SECRET_ID,
                "agent_paths": ["agents/*"],
            },
            "api": {"tokens": ["env:PLANTED_TOKEN"]},
            "database": {"url": f"postgresql://u:{PLANTED['a password in a URL']}@h/d"},
            "registry_credentials": [
                {"registry": "ghcr.io", "username": "u", "password": PLANTED["a password in the file"]}
            ],
            "models": {
                "default": {
                    "provider": "openai",
                    "model": "m",
                    "base_url": f"{provider_url}/v1",
                    "api_key": "secret:models#key",
                }
            },
            "mcp_servers": {
                "tests": {
                    "command": sys.executable,
                    "args": ["-m", "tests.support.tool_server"],
                    "cwd": ROOT,
                    "env": {"TOKEN": "secret:tools#token"},
                }
            },
        }
    )


def load(text: str) -> LoadedConfig:
    environ = {"HOME": "/h", "PLANTED_TOKEN": PLANTED["an API token from the environment"]}
    return read_config(text, "c.yaml", environ, base_directory="/", secrets=open_secrets)


@pytest.fixture
def store() -> Iterator[Store]:
    with serving({}) as store:
        yield store


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything logged, as the daemon's own handler writes it; the root logger is as it was afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level, cleaners = list(root.handlers), root.level, list(logs._ALSO)
    yield stream
    root.handlers[:], root.level, logs._ALSO[:] = before, level, cleaners


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def calls(*wanted: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return openai_answer(None, *((f"c{n}", name, json.dumps(value)) for n, (name, value) in enumerate(wanted)))


async def run(here: Node) -> dict[str, Any]:
    manifest: dict[str, Any] = {"tools": ("cmd.run", "fs.*", "tests.*")}
    agent = here.world.agent(**manifest, secret_environment={"PASSWORD": "agents/db#password"})
    execution = await here.world.daemon.supervisor.start(agent, "do it", "default")
    await here.world.daemon.supervisor.wait(execution.id)
    shown: dict[str, Any] = await here.get(f"/v1/executions/{execution.id}")
    return {**shown, "events": await here.get(f"/v1/executions/{execution.id}/events")}


async def started(servers: McpServers) -> None:
    for _ in range(6000):
        if servers.server("tests").trouble is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(servers.server("tests").trouble)


async def test_nothing_that_comes_out_of_a_node_holds_a_secret(
    store: Store, log: io.StringIO, tmp_path: Path, stack: AsyncExitStack
) -> None:
    key = PLANTED["a key from the store"]
    provider = FakeOpenAI(openai_answer("done"), key=key)
    runner = await serve(provider)
    loaded = await asyncio.to_thread(load, config(store, provider.url))
    configure_logging(level="debug", secrets=[*secrets_of(loaded.config), *loaded.secrets], stream=log)
    said: dict[str, str] = {
        "explain": str(loaded.explanation),
        "the configuration as text": repr(loaded.config.model_copy(update={"node": None})),  # its name is no secret
    }
    aliases, servers = models(loaded.config), tool_servers(loaded.config)
    agents = agent_secrets(loaded.config, stack)
    hide_also(agents.concealed)
    model: Any = aliases.get("default")
    async with servers.running(), node(tmp_path, model, secrets=agents) as here:
        await started(servers)
        here.world.daemon.served_tools.extend(ServerTools(servers)())

        echo = {"error": {"message": f"Incorrect API key provided: {key}", "type": "invalid_request_error"}}
        provider.faults = [Fault(401, echo, {"x-request-key": key})]
        refused = await run(here)
        assert (refused["state"], refused["error_code"]) == ("failed", "model_failed")

        env = {"command": "sh", "args": ["-c", "env; cat /proc/self/environ"], "cwd": str(here.files)}
        say = f"using {PLANTED['a token from the store']}"
        provider.answers = [
            calls(("cmd_run", env), ("tests_environment", {}), ("tests_say", {"text": "hello"})),
            calls(("tests_fail", {"why": "no reason"}), ("tests_misbehave", {"how": "die"}), ("tests_add", {"a": 1})),
            openai_answer("done"),
        ]
        done = await run(here)
        assert done["state"] == "completed", done
        assert "TOKEN=***" in json.dumps(done["events"])
        assert "has ended (exit code 3" in json.dumps(done["events"])
        logging.getLogger("a third party").error("it failed: %s", say)  # what is logged by whoever knows one

        said["executions"] = json.dumps([refused, done])
        asked_for = [spec.environment["PASSWORD"] for spec in here.world.runtime.created]
        assert asked_for == [PLANTED["an agent's password from the store"]] * len(asked_for)
        assert "PASSWORD=***" in json.dumps(done["events"]), "it printed its environment"
        others = [
            replace(spec, environment={**spec.environment, "PASSWORD": ""}) for spec in here.world.runtime.created
        ]
        said["containers, but for what they asked for"] = str([asdict(spec) for spec in others])
        said["the list of executions"] = json.dumps(await here.get("/v1/executions"))
        said["tool servers"] = str([await _trouble(servers), servers.tools()])
    await aliases.close()
    await runner.cleanup()
    said["the log"] = log.getvalue()
    said["the database"] = await asyncio.to_thread(database, tmp_path)
    assert "using ***" in said["the log"], "it was logged, and blanked"
    assert found(said) == []


async def _trouble(servers: McpServers) -> str:
    try:
        await servers.server("tests").check()
    except Exception as error:
        return repr(error)
    return ""


def database(directory: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in directory.glob("aegis.db*"))


def found(said: dict[str, str]) -> list[str]:
    return [f"{what} in {place}" for place, text in said.items() for what, secret in PLANTED.items() if secret in text]


@pytest.mark.parametrize(
    "fault", ["sealed", "denied", "missing", "field", "login", "yaml", "elsewhere"], ids=lambda fault: fault
)
def test_a_node_that_cannot_start_says_why_without_a_secret(store: Store, fault: str) -> None:
    text = config(store, "http://127.0.0.1:9")
    match fault:
        case "sealed":
            store.sealed = True
        case "denied":
            store.denied = {"models", "tools"}
        case "missing":
            del store.secrets["tools"]
        case "field":
            store.secrets["tools"] = {"other": PLANTED["a token from the store"]}
        case "login":
            text = text.replace(ROLE_ID, "another-role")
        case "yaml":
            text += "api: {tokens: [env:PLANTED_TOKEN]}\nlogging: {level: loud}\nmodles: {}\n"
        case "elsewhere":  # a secret where only a few words are allowed
            text += "logging: {level: 'secret:node#name'}\n"
    with pytest.raises(ConfigError) as raised:
        load(text)
    assert found({"the message": f"{raised.value} {raised.value!r} {raised.value.as_json()}"}) == []
