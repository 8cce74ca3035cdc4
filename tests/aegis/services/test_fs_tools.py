"""The `fs.*` tools on a workspace: what a model gets back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from aegis.domain.execution import Execution
from aegis.domain.manifest import VolumeSpec
from aegis.ports import FileRules, ToolCall
from aegis.services.cmd_tool import CMD_RUN, result_text
from aegis.services.conversation import Dispatch
from aegis.services.fs_tools import fs_tools
from aegis.services.judging.jobs import Jobs
from aegis.services.recorder import EventRecorder, Journal
from aegis.services.tools import RESULT_CHARACTERS_MAX, ToolBox, ToolContext, ToolResult
from aegis.services.volumes import MountedVolume
from aegis.services.workspaces import Workspaces
from tests.support import samples
from tests.support.clock import FakeClock
from tests.support.fakes_gateway import FakeGateway
from tests.support.memory_store import MemoryStore


@dataclass
class Bench:
    """Two volumes, `/workspace` and `/workspace/data`, and a tool box on them."""

    work: dict[str, bytes | None] = field(default_factory=dict)
    data: dict[str, bytes | None] = field(default_factory=dict)
    rules: FileRules = field(default_factory=FileRules)
    store: MemoryStore = field(default_factory=MemoryStore)
    execution: Execution = field(default_factory=samples.execution)

    async def call(self, name: str, **arguments: Any) -> Any:
        if self.execution.id not in self.store._executions:
            await self.store.add_execution(self.execution)
        gateway = FakeGateway()
        mounted = []
        for path, files in (("/workspace", self.work), ("/workspace/data", self.data)):
            volume = samples.volume()
            attachment = samples.attachment(volume)
            gateway.storage[volume.id] = files
            gateway.attached[attachment.id] = (volume, self.rules)
            mounted.append(MountedVolume(VolumeSpec(name="v", mount_path=path), volume, attachment, volume.export_path))
        journal = Journal(EventRecorder(self.store), FakeClock(), self.execution.id, 1)
        context = ToolContext(self.execution, Workspaces(gateway, mounted), journal)
        result = await ToolBox([CMD_RUN, *fs_tools(Jobs())]).call(ToolCall("1", name, arguments), context)
        return result.text if isinstance(result, ToolResult) else result


async def test_paths_are_as_in_the_container_and_the_longest_mount_wins() -> None:
    bench = Bench()
    await bench.call("fs.write", path="/workspace/a.txt", content="one")
    await bench.call("fs.write", path="/workspace/data/b.txt", content="two")
    await bench.call("fs.write", path="c.txt", content="three")
    await bench.call("fs.write", path="/workspace/data/../d.txt", content="four")
    assert bench.work == {"a.txt": b"one", "c.txt": b"three", "d.txt": b"four"}
    assert bench.data == {"b.txt": b"two"}


@pytest.mark.parametrize("path", ["/etc/passwd", "/workspace/../etc/passwd", "../x", "//etc/passwd", "/workspaces/x"])
async def test_no_path_leads_out_of_the_workspace(path: str) -> None:
    for name, more in (("fs.read", {}), ("fs.write", {"content": "x"}), ("fs.delete", {}), ("fs.list", {})):
        assert (await Bench().call(name, path=path, **more)).startswith(f"error: {path} is not in a workspace")


async def test_a_path_that_is_no_path_is_an_error_the_model_reads() -> None:
    assert (await Bench().call("fs.read", path="a\0b")).startswith("error: A path")
    assert (await Bench().call("fs.read", path="\ud800")).startswith("error: wrong arguments")


async def test_write_makes_missing_directories_and_replaces_what_is_there() -> None:
    bench = Bench()
    assert (
        await bench.call("fs.write", path="src/x/main.py", content="1") == "wrote 1 bytes to /workspace/src/x/main.py"
    )
    await bench.call("fs.write", path="src/x/main.py", content="2")
    assert bench.work == {"src": None, "src/x": None, "src/x/main.py": b"2"}


async def test_read_gives_the_text_and_shortens_a_long_one() -> None:
    bench = Bench(work={"a": "grüße".encode(), "long": b"x" * 200_000, "binary": b"\xff\xfe"})
    assert await bench.call("fs.read", path="a") == "grüße"
    assert len(await bench.call("fs.read", path="long")) < RESULT_CHARACTERS_MAX + 100
    assert await bench.call("fs.read", path="binary") == "\ufffd\ufffd"


async def test_edit_replaces_what_stands_there_exactly_once() -> None:
    bench = Bench(work={"a": b"one two two"})
    assert await bench.call("fs.edit", path="a", old="one", new="1") == "changed /workspace/a"
    assert bench.work["a"] == b"1 two two"
    assert "stands 2 times" in await bench.call("fs.edit", path="a", old="two", new="2")
    assert "stands 0 times" in await bench.call("fs.edit", path="a", old="three", new="3")
    assert bench.work["a"] == b"1 two two"


async def test_list_shows_kind_size_and_name() -> None:
    bench = Bench(work={"b": b"12345", "a": None})
    lines = (await bench.call("fs.list", path="/workspace")).splitlines()
    assert [line.split() for line in lines] == [["directory", "0", "a"], ["file", "5", "b"]]
    assert await bench.call("fs.list", path="a") == "the directory is empty"
    assert (await bench.call("fs.list", path="nowhere")).startswith("error:")


async def test_glob_finds_over_all_volumes() -> None:
    bench = Bench(work={"src": None, "src/a.py": b"", "b.txt": b""}, data={"c.py": b""})
    assert await bench.call("fs.glob", pattern="**/*.py") == "/workspace/data/c.py\n/workspace/src/a.py"
    assert await bench.call("fs.glob", pattern="/workspace/s*") == "/workspace/src/"
    assert await bench.call("fs.glob", pattern="*.c") == "nothing matches /workspace/*.c"


async def test_grep_shows_file_line_and_text() -> None:
    bench = Bench(work={"src": None, "src/a.py": b"x = 1\ny = 2\n", "b.txt": b"y", "c.bin": b"\0y"})
    assert await bench.call("fs.grep", pattern="^y") == "/workspace/b.txt:1:y\n/workspace/src/a.py:2:y = 2"
    assert await bench.call("fs.grep", pattern="x", path="src") == "/workspace/src/a.py:1:x = 1"
    assert await bench.call("fs.grep", pattern="=", path="src/a.py") == (
        "/workspace/src/a.py:1:x = 1\n/workspace/src/a.py:2:y = 2"
    )
    assert (await bench.call("fs.grep", pattern="(")).startswith("error: the search came to no end: the pattern")


async def test_create_dir_is_mkdir_p_and_delete_takes_everything_below() -> None:
    bench = Bench()
    await bench.call("fs.create_dir", path="a/b/c")
    assert await bench.call("fs.create_dir", path="a/b/c") == "/workspace/a/b/c is there"
    bench.work["a/b/x"] = b""
    await bench.call("fs.delete", path="a/b")
    assert bench.work == {"a": None}
    bench.work["file"] = b""
    assert (await bench.call("fs.create_dir", path="file/x")).startswith("error:")
    assert "is where a volume is mounted" in await bench.call("fs.delete", path="/workspace")


async def test_the_manifests_rules_hold_for_the_tools_as_for_the_container() -> None:
    bench = Bench(work={"src": None, "secret": b"x"}, rules=FileRules(read=("src/**",), write=("src/**",)))
    assert (await bench.call("fs.read", path="secret")).startswith("error: secret: not allowed")
    assert (await bench.call("fs.write", path="other", content="")).startswith("error: other: not allowed")
    assert (await bench.call("fs.write", path="src/a", content="")).startswith("wrote")


async def test_a_command_may_not_outlast_its_iteration() -> None:
    dispatch = await Bench().call("cmd.run", command="sleep", args=["9999"], timeout_seconds=9999)
    assert isinstance(dispatch, Dispatch)
    assert (dispatch.timeout_seconds, dispatch.cwd) == (300.0, "/workspace")
    dispatch = await Bench().call("cmd.run", command="make", cwd="/tmp")
    assert (dispatch.timeout_seconds, dispatch.cwd, dispatch.args) == (60.0, "/tmp", ())


async def test_every_call_and_its_end_are_told() -> None:
    bench = Bench()
    await bench.call("fs.write", path="a", content="x" * 100_000)
    called, allowed, completed = await bench.store.list_events(bench.execution.id)
    assert (called.kind, allowed.kind, completed.kind) == ("tool.called", "tool.allowed", "tool.completed")
    assert called.data["name"] == "fs.write"
    assert len(called.data["arguments"]["content"]) < 3_000, "an event shows what happened, it does not keep the file"


def test_a_commands_result_keeps_the_end_of_a_long_output() -> None:
    text = result_text(
        {"exit_code": 2, "stdout": "a" * 100_000 + "the error", "stderr": "", "duration_ms": 1, "truncated": True}
    )
    assert text.startswith("exit code: 2\nstdout:\naaa")
    assert "the error" in text
    assert len(text) < RESULT_CHARACTERS_MAX
    assert text.endswith("only its end was kept)")
