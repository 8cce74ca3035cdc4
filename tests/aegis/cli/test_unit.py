"""The systemd unit: one text, two places, and every setting of the reference deployment in it."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

from aegis.cli.unit import unit_text
from tests.aegis.cli.conftest import Run

DEPLOYED = Path(__file__).parents[3] / "deploy" / "aegis.service"


def settings(text: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def test_the_deployed_file_is_what_install_writes() -> None:
    assert DEPLOYED.read_text() == unit_text()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("Service", "User", "aegis"),
        ("Service", "Group", "docker"),
        ("Service", "WorkingDirectory", "/opt/aegis"),
        ("Service", "ExecStart", "/usr/local/bin/aegis daemon --config /etc/aegis/config.yaml"),
        ("Service", "Restart", "on-failure"),
        ("Service", "RestartSec", "10s"),
        ("Service", "LimitNOFILE", "65535"),
        ("Service", "EnvironmentFile", "-/etc/aegis/env"),
        ("Service", "Type", "notify"),
        ("Unit", "Wants", "network-online.target docker.service"),
        ("Unit", "After", "network-online.target docker.service"),
        ("Install", "WantedBy", "multi-user.target"),
    ],
)
def test_the_unit_says_what_the_reference_deployment_says(section: str, key: str, value: str) -> None:
    assert settings(unit_text())[section][key] == value


def test_a_restart_of_docker_does_not_stop_the_daemon() -> None:
    for word in ("Requires", "BindsTo", "PartOf", "Requisite"):
        assert word not in settings(unit_text())["Unit"]


async def test_install_prints_the_unit_for_another_user_and_place(run: Run) -> None:
    ended = await run("daemon", "install", "--print", "--user", "agents", "--config", "/srv/a.yaml")
    assert ended.code == 0
    service = settings(ended.out)["Service"]
    assert service["User"] == "agents"
    assert service["ExecStart"].endswith(" daemon --config /srv/a.yaml")
