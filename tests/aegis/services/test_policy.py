"""The one place every tool call passes: who must allow it, what is counted, and what the model and the log are told."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import aegis
from aegis.domain.capabilities import Touched
from aegis.domain.contexts import Capability, PathLists, RateLimit, SecurityContext
from aegis.domain.events import Event
from aegis.domain.manifest import NetworkMode, NetworkPolicy, Security, VolumeSpec
from aegis.errors import NotFound
from aegis.ports import FileRules, ToolCall
from aegis.services.cmd_tool import CMD_RUN
from aegis.services.conversation import Dispatch
from aegis.services.fs_tools import fs_tools
from aegis.services.judging.jobs import Jobs
from aegis.services.policy import ToolPolicy
from aegis.services.rates import RateLimits, allowed_calls
from aegis.services.recorder import EventRecorder, Journal
from aegis.services.tools import Arguments, Caller, Tool, ToolBox, ToolContext, ToolResult
from aegis.services.volumes import MountedVolume
from aegis.services.workspaces import Workspaces
from tests.support import samples
from tests.support.clock import FakeClock
from tests.support.fakes_gateway import FakeGateway
from tests.support.memory_store import MemoryStore


class UrlArguments(Arguments):
    url: str


async def _visited(arguments: UrlArguments, _context: ToolContext) -> str:
    return f"was at {arguments.url}"


VISIT = Tool("web.visit", "", UrlArguments, _visited, lambda arguments, _: Touched(urls=(arguments.url,)))
WORKSPACE = VolumeSpec(name="workspace", mount_path="/workspace")


def context(name: str, *capabilities: Capability, deny: tuple[str, ...] = ()) -> SecurityContext:
    return SecurityContext(name=name, capabilities=capabilities, deny=deny)


@dataclass
class Desk:
    """One execution with one volume, and the tools of a node with these security contexts."""

    node: tuple[SecurityContext, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes | None] = field(default_factory=dict)
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: FakeClock = field(default_factory=FakeClock)
    looked_at: int = 0

    def __post_init__(self) -> None:
        execution = samples.execution()
        changes = {"tools": ("*",), "volumes": (WORKSPACE,), **self.manifest}
        self.execution = replace(execution, manifest=execution.manifest.model_copy(update=changes))
        self.box = ToolBox([CMD_RUN, VISIT, *fs_tools(Jobs())], ToolPolicy(self.node))
        self.context = self.iteration()

    def iteration(self) -> ToolContext:
        """As each begins, and a restarted daemon's too: nothing is remembered but what is stored."""
        gateway, volume = FakeGateway(), samples.volume()
        attachment = samples.attachment(volume)
        gateway.storage[volume.id] = self.files
        gateway.attached[attachment.id] = (volume, FileRules())
        workspace = gateway.workspace

        def counted(*args: Any) -> Any:
            self.looked_at += 1
            return workspace(*args)

        gateway.workspace = counted  # type: ignore[method-assign]
        files = Workspaces(gateway, [MountedVolume(WORKSPACE, volume, attachment, volume.export_path)])
        journal = Journal(EventRecorder(self.store), self.clock, self.execution.id, 1)
        return ToolContext(
            self.execution, files, journal, RateLimits(lambda: allowed_calls(self.store, self.execution.id))
        )

    async def call(self, name: str, *, caller: Caller = "model", **arguments: Any) -> str:
        if self.execution.id not in self.store._executions:
            await self.store.add_execution(self.execution)
        result = await self.box.call(ToolCall("1", name, arguments), self.context, caller)
        if isinstance(result, Dispatch):
            return "dispatched"
        assert isinstance(result, ToolResult)
        assert result.failed is result.text.startswith("error: ")
        return result.text

    async def last(self) -> Event:
        return (await self.store.list_events(self.execution.id))[-1]

    async def rules(self) -> list[str]:
        """Of the last decision."""
        decisions = [
            e for e in await self.store.list_events(self.execution.id) if e.kind.endswith(("allowed", "denied"))
        ]
        return list(decisions[-1].data["rules"])


READER = context("reader", Capability(tool_pattern="fs.read"), Capability(tool_pattern="fs.list"))
EVERYTHING = context("everything", Capability(tool_pattern="*"))
NOTHING = context("nothing")


async def test_without_contexts_the_manifest_alone_decides() -> None:
    desk = Desk(files={"a": b"1"}, manifest={"tools": ("fs.read",)})
    assert await desk.call("fs.read", path="a") == "1"
    assert await desk.rules() == ["manifest: tools (fs.read)"]
    assert await desk.call("cmd.run", command="ls") == "error: the tool cmd.run is not allowed here (allowed: fs.read)"
    assert (await desk.last()).kind == "tool.denied"
    assert await desk.rules() == ["manifest: tools"]


async def test_the_manifests_tools_and_the_nodes_context_must_both_allow() -> None:
    desk = Desk(node=(READER,), manifest={"security_context": "reader", "tools": ("fs.read", "fs.write")})
    desk.files["a"] = b"1"
    assert await desk.call("fs.read", path="a") == "1"
    assert await desk.rules() == ["manifest: tools (fs.read)", "node: reader.capabilities[0] (fs.read)"]
    assert "reader does not allow fs.write" in await desk.call("fs.write", path="a", content="2")
    assert "not allowed here" in await desk.call("fs.list", path="/workspace")
    assert [spec.name for spec in desk.box.specs(desk.execution)] == ["fs.read"]


async def test_the_nodes_default_holds_for_agents_that_name_none_and_for_those_that_bring_their_own() -> None:
    default = context("default", Capability(tool_pattern="fs.*"), deny=("fs.delete",))
    named_none = Desk(node=(default, EVERYTHING))
    assert "default denies fs.delete" in await named_none.call("fs.delete", path="a")
    own = Desk(
        node=(default,),
        manifest={"security_context": "mine", "security_contexts": (context("mine", *EVERYTHING.capabilities),)},
    )
    assert "default denies fs.delete" in await own.call("fs.delete", path="a")
    another_of_the_nodes = Desk(node=(default, EVERYTHING), manifest={"security_context": "everything"})
    assert await another_of_the_nodes.call("fs.create_dir", path="a") == "/workspace/a is there"


async def test_a_name_that_both_have_means_both() -> None:
    desk = Desk(
        node=(READER,),
        manifest={"security_context": "reader", "security_contexts": (NOTHING.model_copy(update={"name": "reader"}),)},
    )
    assert "does not allow fs.read" in await desk.call("fs.read", path="a")
    assert await desk.rules() == ["manifest: reader: no capability"]


async def test_a_context_that_nobody_knows_is_refused_at_the_start_and_denies_everything_later() -> None:
    desk = Desk(node=(READER,), manifest={"security_context": "writer"})
    with pytest.raises(NotFound, match="no security context writer, only default, reader"):
        ToolPolicy(desk.node).layers(desk.execution.manifest)
    assert "There is no security context writer" in await desk.call("fs.read", path="a")
    assert desk.box.specs(desk.execution) == []


async def test_a_denied_call_touches_nothing_whichever_tool_and_whoever_calls() -> None:
    desk = Desk(node=(NOTHING,), manifest={"security_context": "nothing"}, files={"a": b"1"})
    calls: dict[str, dict[str, Any]] = {
        "cmd.run": {"command": "ls"},
        "web.visit": {"url": "http://a.example"},
        "fs.read": {"path": "a"},
        "fs.write": {"path": "a", "content": ""},
        "fs.edit": {"path": "a", "old": "1", "new": "2"},
        "fs.list": {"path": "/workspace"},
        "fs.grep": {"pattern": "1"},
        "fs.glob": {"pattern": "**"},
        "fs.create_dir": {"path": "d"},
        "fs.delete": {"path": "a"},
    }
    assert set(calls) == set(desk.box._tools), "every tool is tried"
    for name, arguments in calls.items():
        for caller in ("model", "agent"):
            assert (await desk.call(name, caller=caller, **arguments)).startswith("error: ")
    assert (desk.looked_at, desk.files) == (0, {"a": b"1"})
    assert {event.kind for event in await desk.store.list_events(desk.execution.id)} == {"tool.called", "tool.denied"}


def test_there_is_no_second_way_to_a_tool() -> None:
    """`perform` is what runs a tool: it is read in one place. The functions behind it are named where they become tools
    and by no other module."""
    root = Path(aegis.__file__).parent
    trees = {path.relative_to(root).as_posix(): ast.parse(path.read_text()) for path in root.rglob("*.py")}
    reads: list[str] = []
    behind: set[tuple[str, str]] = set()
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "perform":
                reads.append(path)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Tool":
                performer = node.args[3].func if isinstance(node.args[3], ast.Call) else node.args[3]
                if isinstance(performer, ast.Name):
                    module = f"aegis.{path.removesuffix('.py').replace('/', '.')}"
                    behind.add((module, performer.id))
    assert reads == ["services/tools.py"]
    assert {("aegis.services.fs_tools", "write"), ("aegis.services.cmd_tool", "run_command")} <= behind
    for path, tree in trees.items():
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        named = {(node.module or "", alias.name) for node in imports for alias in node.names}
        assert not named & behind, path


async def test_a_decision_is_stored_before_the_tool_runs() -> None:
    desk = Desk()
    await desk.store.add_execution(desk.execution)

    async def away(*_: Any) -> None:
        raise RuntimeError("the store is away")

    desk.store.append_events = away  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await desk.call("fs.create_dir", path="a")
    assert desk.files == {}


async def test_searching_needs_leave_for_all_that_is_searched() -> None:
    lists = PathLists(read=("/workspace/src/**", "/workspace/*.txt"), write=("/workspace/out/**",))
    desk = Desk(
        node=(context("default", Capability(tool_pattern="fs.*", filesystem=lists)),),
        files={"src": None, "src/a": b"1", "a.txt": b"1", "secret": b"1", "out": None, "out/a": b""},
    )
    assert await desk.call("fs.read", path="src/../a.txt") == "1"
    assert "/workspace/secret may not be read" in await desk.call("fs.read", path="src/../secret")
    assert await desk.call("fs.grep", pattern="1", path="src") == "/workspace/src/a:1:1"
    assert "everything below /workspace may not be read by fs.grep" in await desk.call("fs.grep", pattern="1")
    assert await desk.call("fs.glob", pattern="src/**") == "/workspace/src/\n/workspace/src/a"
    assert "everything below /workspace may not be read" in await desk.call("fs.glob", pattern="s*/**")
    assert "everything below /workspace may not be read" in await desk.call("fs.glob", pattern="/**/a")
    assert await desk.call("fs.glob", pattern="/workspace/a.txt") == "/workspace/a.txt"
    assert "may not be written" in await desk.call("fs.edit", path="a.txt", old="1", new="2")
    assert "may not be read" in await desk.call("fs.edit", path="out/a", old="1", new="2")
    assert (await desk.call("fs.delete", path="out/a")).startswith("deleted")
    assert "everything below /workspace/src may not be written" in await desk.call("fs.delete", path="src")


async def test_a_url_needs_the_agents_network_policy_and_the_context() -> None:
    web = context("default", Capability(tool_pattern="*", domains=("*.example.org",)))
    network = NetworkPolicy(mode=NetworkMode.ALLOW, allowlist=("api.example.org", "a.test"))
    desk = Desk(node=(web,), manifest={"security": Security(network=network)})
    assert await desk.call("web.visit", url="https://api.example.org/x") == "was at https://api.example.org/x"
    assert "agent's network policy" in await desk.call("web.visit", url="https://www.example.org/")
    assert "a.test is not allowed to web.visit" in await desk.call("web.visit", url="https://a.test/")
    assert "unusual form" in await desk.call("web.visit", url="http://0x7f.1/")
    policy, manifest = ToolPolicy(desk.node), desk.execution.manifest
    assert policy.may_visit(manifest, "web.visit", "https://api.example.org/").allowed
    assert not policy.may_visit(manifest, "web.visit", "https://a.test/").allowed
    none = Desk(manifest={"security": Security(network=NetworkPolicy(mode=NetworkMode.NONE))})
    assert "mode none" in await none.call("web.visit", url="https://api.example.org/")


# ---- rates ----


def limited(**limit: int) -> SecurityContext:
    return context(
        "default", Capability(tool_pattern="fs.*", rate_limit=RateLimit(**limit)), Capability(tool_pattern="cmd.run")
    )


async def test_calls_of_a_minute_are_limited_in_a_window_that_moves() -> None:
    desk = Desk(node=(limited(calls_per_minute=2),), files={"a": b"1"})
    assert await desk.call("fs.read", path="a") == "1"
    await desk.clock.advance(40)
    assert await desk.call("fs.read", path="a") == "1"
    wait = "error: fs.list may be called 2 times a minute; call it again in 20 s"
    assert await desk.call("fs.list", path="/workspace") == wait
    assert (await desk.last()).data["rules"] == ["node: default.capabilities[0] (fs.*)"]
    assert await desk.call("cmd.run", command="ls") == "dispatched", "another capability has its own count"
    await desk.clock.advance(20)
    assert await desk.call("fs.read", path="a") == "1"
    assert "again in 40 s" in await desk.call("fs.read", path="a")


async def test_calls_of_an_execution_are_limited_over_its_iterations_and_a_restart() -> None:
    desk = Desk(node=(limited(calls_per_execution=3),), files={"a": b"1"})
    assert await desk.call("fs.read", path="a") == "1"
    assert await desk.call("fs.read", path="missing") == "error: missing does not exist", "counted: it was allowed"
    desk.context = desk.iteration()
    assert await desk.call("fs.read", path="a") == "1"
    refused = "error: fs.read may be called 3 times in an execution, and has been"
    assert await desk.call("fs.read", path="a") == refused
    desk.context = desk.iteration()
    assert await desk.call("fs.read", path="a") == refused


async def test_a_minute_goes_on_over_a_restart() -> None:
    desk = Desk(node=(limited(calls_per_minute=1),), files={"a": b"1"})
    assert await desk.call("fs.read", path="a") == "1"
    await desk.clock.advance(50)
    desk.context = desk.iteration()
    assert "again in 10 s" in await desk.call("fs.read", path="a")
    await desk.clock.advance(10)
    assert await desk.call("fs.read", path="a") == "1"


async def test_what_is_denied_does_not_count_and_what_a_further_capability_allows_is_not_refused() -> None:
    once = RateLimit(calls_per_execution=1)
    two = context(
        "default",
        Capability(tool_pattern="fs.read", filesystem=PathLists(read=("/workspace/a",)), rate_limit=once),
        Capability(tool_pattern="fs.*", filesystem=PathLists(read=("/workspace/**",)), rate_limit=once),
    )
    desk = Desk(node=(two,), files={"a": b"1", "b": b"2"})
    assert "may not be read" in await desk.call("fs.read", path="/elsewhere")
    assert await desk.call("fs.read", path="a") == "1"
    assert await desk.rules() == ["manifest: tools (*)", "node: default.capabilities[0] (fs.read)"]
    assert await desk.call("fs.read", path="a") == "1"
    assert await desk.rules() == ["manifest: tools (*)", "node: default.capabilities[1] (fs.*)"]
    assert "may be called once in an execution" in await desk.call("fs.read", path="b")


async def test_a_layer_that_refuses_leaves_the_other_uncounted() -> None:
    own = context("mine", Capability(tool_pattern="fs.*", rate_limit=RateLimit(calls_per_execution=2)))
    node = context("default", Capability(tool_pattern="fs.*", rate_limit=RateLimit(calls_per_minute=1)))
    desk = Desk(node=(node,), manifest={"security_context": "mine", "security_contexts": (own,)}, files={"a": b"1"})
    assert await desk.call("fs.read", path="a") == "1"
    for _ in range(5):
        assert "a minute" in await desk.call("fs.read", path="a")
    await desk.clock.advance(60)
    assert await desk.call("fs.read", path="a") == "1"
    await desk.clock.advance(60)
    assert "2 times in an execution" in await desk.call("fs.read", path="a")
