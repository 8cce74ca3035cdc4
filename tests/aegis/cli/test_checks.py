"""The doctor: each fault it knows comes with what repairs it. Engines are real sockets that answer as engines do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aegis.cli import checks
from aegis.cli.checks import Level
from tests.aegis.cli.conftest import Run

VERSION = {"Version": "27.1.1", "ApiVersion": "1.46"}
INFO = {"SecurityOptions": ["name=seccomp,profile=builtin"], "Plugins": {"Volume": ["local"]}}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """An engine's socket and what it says of itself."""
    said = {"version": dict(VERSION), "info": dict(INFO)}
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(said[request.path[1:]])

    app.router.add_get("/version", answer)
    app.router.add_get("/info", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    path = str(tmp_path / "docker.sock")
    await web.UnixSite(runner, path).start()
    yield path, said
    await runner.cleanup()


async def examined(path: str) -> dict[str, checks.Finding]:
    findings = await asyncio.get_running_loop().run_in_executor(None, checks.check_docker, path)
    return {finding.name: finding for finding in findings}


async def test_a_healthy_engine_is_good(engine: tuple[str, dict[str, Any]]) -> None:
    found = await examined(engine[0])
    assert {finding.level for finding in found.values()} == {Level.GOOD}
    assert "27.1.1" in found["docker socket"].found


@pytest.mark.parametrize(
    ("part", "changes", "check", "level"),
    [
        ("version", {"ApiVersion": "1.24"}, "docker socket", Level.BAD),
        ("version", {"ApiVersion": None}, "docker socket", Level.BAD),
        ("info", {"SecurityOptions": ["name=rootless"]}, "docker mode", Level.BAD),
        ("info", {"SecurityOptions": ["name=userns"]}, "userns-remap", Level.WARN),
        ("info", {"Plugins": {"Volume": None}}, "volume driver", Level.BAD),
    ],
)
async def test_an_engine_that_cannot_serve_is_told_with_its_repair(
    engine: tuple[str, dict[str, Any]], part: str, changes: dict[str, Any], check: str, level: Level
) -> None:
    path, said = engine
    said[part].update(changes)
    finding = (await examined(path))[check]
    assert finding.level is level
    assert finding.repair


def test_no_socket_a_dead_one_and_none_of_an_engine(tmp_path: Path) -> None:
    (gone,) = checks.check_docker(str(tmp_path / "none"))
    assert (gone.level, "there is no" in gone.found) == (Level.BAD, True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    (refused,) = checks.check_docker(str(tmp_path / "dead"))
    assert (refused.level, refused.repair) == (Level.BAD, "sudo systemctl restart docker")


def test_a_taken_port_is_bad_and_a_free_one_good() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finding = checks.check_port("nfs port", port)
        assert (finding.level, str(port) in finding.repair) == (Level.BAD, True)
    assert checks.check_port("nfs port", port).level is Level.GOOD


def test_the_state_directory_may_still_have_to_be_made(tmp_path: Path) -> None:
    assert checks.check_state_directory(tmp_path / "a" / "b").level is not Level.BAD
    if os.geteuid() != 0:  # root may write everywhere
        tmp_path.chmod(0o500)
        assert "install -d" in checks.check_state_directory(tmp_path / "a").repair


async def test_doctor_prints_every_check_and_ends_by_the_worst(run: Run) -> None:
    ended = await run("doctor", "--output", "json", DOCKER_HOST="unix:///no/such.sock")
    findings = {finding["check"]: finding for finding in json.loads(ended.out)}
    assert ended.code == 1
    assert findings["docker socket"]["repair"]
    assert findings["daemon"]["check"] == "daemon"
    ended = await run("doctor", DOCKER_HOST="unix:///no/such.sock")
    assert "repair: sudo apt-get install docker.io" in ended.out


def test_a_tool_server_that_is_away_is_a_warning_with_its_reason() -> None:
    view = {"ok": True, "optional": False, "code": "", "detail": "", "next_step": ""}
    away = {**view, "dependency": "tool server b", "ok": False, "optional": True, "detail": "ended", "next_step": "do"}
    views = [{**view, "dependency": "nfs"}, {**view, "dependency": "tool server a", "optional": True}, away]
    found = checks.optional_parts("".join(json.dumps(each) + "\n" for each in views).encode())
    assert [(each.name, each.level, each.found, each.repair) for each in found] == [
        ("tool server a", Level.GOOD, "answers", ""),
        ("tool server b", Level.WARN, "ended", "do"),
    ]
    assert checks.optional_parts(b"<html>\n[]\nnull\n") == []


def test_what_of_the_host_agents_reach_is_named_with_the_rule_that_keeps_them_out(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    tail = "00000000:00000000 00:00000000 00000000     0\n"
    four = [("00000000:0016", "0A"), ("0100007F:1F90", "0A"), ("00000000:0801", "0A"), ("00000000:1234", "01")]
    six = [("0" * 32 + ":006F", "0A"), ("0" * 31 + "1:1F91", "0A")]
    for name, rows in (("tcp", four), ("tcp6", six)):
        lines = [f"   {n}: {local} 00000000:0000 {state} {tail}" for n, (local, state) in enumerate(rows)]
        (tmp_path / name).write_text(head + "".join(lines))
    found = checks.check_reachable(tmp_path)
    assert found.level is Level.WARN and "the ports 22, 111:" in found.found
    assert "iptables -I INPUT -s 10.97.0.0/20" in found.repair
    (tmp_path / "tcp").write_text(head)
    (tmp_path / "tcp6").unlink()
    assert checks.check_reachable(tmp_path).level is Level.GOOD
