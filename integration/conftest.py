"""Fixtures of the tests that run against a real kernel NFS client and a real Docker Engine. See docs/lab.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.daemon import Daemon, left_over, unfinished
from integration.lab import DockerEngine, KernelClient, Lab, Network, NfsServer
from integration.lab.servers import start_ganesha, start_nfsd


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """This session's lab."""
    with Lab.open() as opened:
        yield opened


@pytest.fixture
def network(lab: Lab) -> Iterator[Network]:
    """A network of the test's own."""
    with lab.network() as opened:
        yield opened


@pytest.fixture
def kernel_client(lab: Lab, network: Network) -> Iterator[KernelClient]:
    """A kernel NFS client on the test's network."""
    with lab.kernel_client(network) as client:
        yield client


@pytest.fixture(scope="module")
def docker_engine(lab: Lab) -> Iterator[DockerEngine]:
    """A Docker Engine with an NFS client, the daemon beside it. Shared by a module: remove what you make in it."""
    with lab.docker_engine("beside") as engine:
        yield engine


@pytest.fixture(scope="module")
def all_in_one(lab: Lab) -> Iterator[DockerEngine]:
    """A Docker Engine on whose own machine the daemon runs. Shared by a module: remove what you make in it."""
    with lab.docker_engine("all-in-one") as engine:
        yield engine


@pytest.fixture
def export(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """An empty directory that belongs to the user whom the servers run as."""
    return lab.export_directory(f"{request.node.name}-{id(request.node)}")


@pytest.fixture
def nfsd_server(lab: Lab, network: Network) -> Callable[..., NfsServer]:
    """Start `python -m nfsd` as an ordinary user: `nfsd_server({"/t/v": directory}, arguments=["--uid", "1000"])`."""

    def start(exports: dict[str, Path], arguments: tuple[str, ...] = ()) -> NfsServer:
        return start_nfsd(network, lab.python, exports, arguments=arguments)

    return start


@pytest.fixture
def ganesha(lab: Lab, network: Network, export: Path) -> NfsServer:
    """nfs-ganesha with `export` as /t/v, for tests of the lab itself and for comparison."""
    export.chmod(0o777)
    return start_ganesha(lab.state, network, {"/t/v": export})


@pytest.fixture
def nothing_is_left(docker_engine: DockerEngine, daemon: Daemon) -> Iterator[None]:
    """For modules with a `daemon` of their own, by `usefixtures`: after each test its engine is as it was before, and
    every execution has a true final state."""
    yield
    assert left_over(docker_engine, daemon) == []
    assert unfinished(daemon) == []
