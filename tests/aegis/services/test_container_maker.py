"""What a container is made with: where it is put, and what it is told of the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegis.domain.execution import Execution
from aegis.domain.images import LocalImage
from aegis.domain.manifest import NetworkMode, NetworkPolicy, PullPolicy, Security
from aegis.ports import ContainerSpec
from aegis.services.containers import ContainerMaker, ContainerSettings, Image, Place
from tests.support import samples
from tests.support.way_out import WayOut


def place(execution_id: str) -> Place:
    return Place(f"net-of-{execution_id}", "http://10.97.0.1:8080", "10.97.0.1:3128", ("127.0.0.1",))


def made(
    mode: NetworkMode = NetworkMode.ALLOW, **manifest: Any
) -> tuple[Execution, ContainerSpec, ContainerSpec, WayOut]:
    """An execution, its agent's container and a validator's."""
    way = WayOut()

    def way_out(execution: Execution, place: Place) -> Mapping[str, str]:
        return way.gate.environment(execution, place.proxy, place.orchestrator_url)

    maker = ContainerMaker(
        ContainerSettings(
            node_id="node-1",
            place=place,
            way_out=way_out,
            nfs_host="127.0.0.1",
            nfs_port=2049,
            mount_options=lambda _: "",
            image_of=lambda runtime: Image("busybox", {"no_proxy": "of the image"}),
            default_pull_policy=PullPolicy.NEVER,
            bootstrap={},
            bootstrap_command=lambda _: ("bootstrap",),
        )
    )
    image = LocalImage("sha256:1", "amd64")
    security = Security(network=NetworkPolicy(mode=mode))
    execution = samples.execution(manifest=samples.manifest(security=security, **manifest))
    return (
        execution,
        maker.agent(execution, 1, image, "token", ()),
        maker.validator(execution, 1, image, ("true",), ()),
        way,
    )


def test_agent_and_validator_are_put_in_the_executions_place_and_told_of_its_proxy() -> None:
    execution, agent, validator, way = made()
    for spec in (agent, validator):
        assert (spec.network, spec.resolvers) == (f"net-of-{execution.id}", ("127.0.0.1",))
        url = f"http://{execution.id}:{way.gate.key(execution.id)}@10.97.0.1:3128"
        assert {spec.environment[name] for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")} == {url}
        assert "10.97.0.1" in spec.environment["NO_PROXY"]
    assert agent.environment["AEGIS_ORCHESTRATOR_URL"] == "http://10.97.0.1:8080"
    assert "token" not in validator.environment.values()
    assert way.gate.key(execution.id) not in ("token", execution.token_hash)


def test_mode_none_is_told_of_no_proxy() -> None:
    _, agent, validator, _ = made(NetworkMode.NONE)
    for spec in (agent, validator):
        assert not [name for name in spec.environment if name.lower() in ("http_proxy", "https_proxy")]


def test_the_image_and_then_the_manifest_have_the_last_word() -> None:
    _, agent, _, _ = made(environment={"NO_PROXY": "of the manifest"})
    assert (agent.environment["no_proxy"], agent.environment["NO_PROXY"]) == ("of the image", "of the manifest")
