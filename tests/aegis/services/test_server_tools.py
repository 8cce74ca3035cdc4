"""Tools of tool servers among the node's own: named by the server, under the policy that all are under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aegis.domain.contexts import Capability, PathLists
from aegis.domain.manifest import NetworkMode, NetworkPolicy, Security
from aegis.ports import ToolAnswer, ToolSpec
from aegis.services.cmd_tool import CMD_RUN
from aegis.services.policy import ToolPolicy
from aegis.services.server_tools import ServerTools
from aegis.services.tools import RESULT_CHARACTERS_MAX, ToolBox
from tests.aegis.services.test_policy import Desk, context

SCHEMA = {"type": "object", "properties": {"title": {"type": "string", "title": "Title"}}, "required": ["title"]}


class Servers:
    """What tool servers offer, and what they were asked."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.answer = ToolAnswer("done")
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def tools(self) -> Sequence[ToolSpec]:
        return [ToolSpec(name, "Does it", SCHEMA) for name in self.names]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        self.asked.append((name, dict(arguments)))
        return self.answer


def desk(servers: Servers, **changes: Any) -> Desk:
    found = Desk(**changes)
    found.box = ToolBox([CMD_RUN], ToolPolicy(found.node), [ServerTools(servers)])
    return found


async def test_it_is_offered_with_its_servers_own_schema_and_called_with_whatever_the_model_says() -> None:
    servers = Servers("github.create_issue")
    at = desk(servers)
    _, spec = at.box.specs(at.execution)
    assert (spec.name, spec.description) == ("github.create_issue", "Does it")
    assert spec.parameters["properties"] == {"title": {"type": "string"}}
    assert await at.call("github.create_issue", title="x", more=[1, {"y": None}]) == "done"
    assert servers.asked == [("github.create_issue", {"title": "x", "more": [1, {"y": None}]})]
    last = await at.last()
    assert (last.kind, last.data["name"], last.data["result"]) == ("tool.completed", "github.create_issue", "done")


async def test_a_manifest_that_does_not_name_it_has_it_neither_offered_nor_called() -> None:
    servers = Servers("github.create_issue", "notes.read")
    at = desk(servers, manifest={"tools": ("cmd.run", "notes.*")})
    assert [spec.name for spec in at.box.specs(at.execution)] == ["cmd.run", "notes.read"]
    assert "is not allowed here" in await at.call("github.create_issue", title="x")
    assert servers.asked == []
    assert (await at.last()).kind == "tool.denied"


async def test_a_context_that_lists_paths_denies_it_since_nobody_knows_what_it_touches() -> None:
    lists = PathLists(write=("/workspace/**",))
    node = (context("default", Capability(tool_pattern="*", filesystem=lists)),)
    servers = Servers("files.write")
    at = desk(servers, node=node)
    assert (await at.call("files.write", path="/workspace/x")).startswith("error: ")
    assert servers.asked == []


async def test_what_it_failed_with_is_told_to_the_model_and_bounded() -> None:
    servers = Servers("github.create_issue")
    servers.answer = ToolAnswer("x" * 10 * RESULT_CHARACTERS_MAX, failed=True)
    told = await desk(servers).call("github.create_issue", title="x")
    assert told.startswith("error: xxx")
    assert len(told) <= RESULT_CHARACTERS_MAX + 100


async def test_a_tool_that_comes_while_the_node_runs_is_there_and_none_takes_the_place_of_our_own() -> None:
    servers = Servers()
    at = desk(servers)
    assert "there is no tool 'late.tool'" in await at.call("late.tool")
    servers.names += ["late.tool", "cmd.run"]
    assert await at.call("late.tool") == "done"
    assert await at.call("cmd.run", command="ls") == "dispatched"


async def test_the_urls_it_is_given_are_measured_by_the_agents_network_policy_and_the_lists_of_domains() -> None:
    network = NetworkPolicy(mode=NetworkMode.ALLOW, allowlist=("a.test", "b.test"))
    servers = Servers("web.get")
    at = desk(
        servers,
        node=(context("default", Capability(tool_pattern="web.*", domains=("a.test",))),),
        manifest={"security": Security(network=network)},
    )
    assert await at.call("web.get", url="https://a.test/x", many=[{"also": "http://a.test is meant"}]) == "done"
    for url in (
        "https://b.test",
        " https://c.test",
        "\n\x00http://c.test",
        "HTTP:c.test",
        "http:/c.test",
        "file:///etc",
    ):
        assert (await at.call("web.get", deep=[{"url": url}])).startswith("error: "), url
        assert (await at.last()).kind == "tool.denied"
    assert "this call names none" in await at.call("web.get", host="a.test")
    assert "More than 100 URLs" in await at.call("web.get", urls=["https://a.test"] * 101)
    assert len(servers.asked) == 1
