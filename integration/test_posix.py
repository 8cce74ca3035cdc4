"""The project's POSIX suite (`integration/posix`) on a local disk and on mounts of the kernel's client, claim by claim.

Each way runs the suite once, in the guest, with the guest's Python; each of its areas is a test. A test fails for every
claim that does not hold and is no listed difference (`integration/posix/differences.py`), and for every listed one
that holds after all.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from aegis.domain.mounts import mount_options
from integration.lab import KernelClient, Lab, Network, NfsServer
from integration.lab.servers import start_nfsd
from integration.posix.claims import PEER, Claim, NotHere, every_claim
from integration.posix.differences import DIFFERENCES, document, expected
from integration.posix.runner import Outcome, Runner

PYTHON = ("/usr/bin/python3", "-B", "-s", "-m", "integration.posix")
PEER_PORT = 4321
MOUNT = "/mnt/workspace"
SUITE_SECONDS = 300.0
READY_SECONDS = 30.0
VOLUME_OWNER = 1000
REFERENCES = ("ext4", "xfs")
DOCUMENT = Path(__file__).parents[1] / "docs" / "posix-differences.md"


@dataclass(frozen=True)
class Way:
    """Who runs the claims: `uid`, squashed to itself on a mount that is not `mapped`; `clients` 0 is the local disk."""

    uid: int
    clients: int
    only_peers: bool = False
    mapped: bool = False

    @property
    def local(self) -> bool:
        return self.clients == 0

    @property
    def server_arguments(self) -> list[str]:
        """A mapped volume is another user's than the superuser's, who runs the claims there and becomes others."""
        identity = ["--identity", "mapped", *_ids(VOLUME_OWNER)] if self.mapped else _ids(self.uid)
        return [*identity, "--durability", "host"]

    @property
    def claims(self) -> list[str]:
        """With two clients, those that are about a second process; the others have run on one."""
        return [each.name for each in every_claim() if PEER in each.needs or not self.only_peers]


WAYS = {
    "local-root": Way(0, 0),
    "local-user": Way(1000, 0),
    "mount-root": Way(0, 1),
    "mount-user": Way(1000, 1),
    "mount-mapped": Way(0, 1, mapped=True),
    "two-clients": Way(1000, 2, only_peers=True),
}
AREAS = {name: list(dict.fromkeys(claim.partition(".")[0] for claim in way.claims)) for name, way in WAYS.items()}


def _ids(uid: int) -> list[str]:
    return ["--uid", str(uid), "--gid", str(uid)]


class Runs:
    """Each way's outcomes, run when they are first asked for; a way that cannot run is not tried again."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._outcomes: dict[str, dict[str, Outcome]] = {}

    def of(self, name: str) -> dict[str, Outcome]:
        """By claim; empty for a way that could not run, whose first test has said why."""
        if name not in self._outcomes:
            self._outcomes[name] = {}
            way = WAYS[name]
            with self.lab.network() as network:
                lines = self._local(way, network) if way.local else self._mounted(way, network, name)
            found = [Outcome.of_line(line) for line in lines]
            self._outcomes[name] = {outcome.claim: outcome for outcome in found}
        return self._outcomes[name]

    def _local(self, way: Way, network: Network) -> list[bytes]:
        """On the machine's own disk."""
        scratch = self.lab.scratch / f"posix-{way.uid}"
        suite = copy_suite(scratch)
        base = self.lab.export_directory(f"posix-local-{way.uid}", way.uid)
        peer = network.popen([*PYTHON, "peer", f"127.0.0.1:{PEER_PORT}"], uid=way.uid, cwd=suite)
        peer.wait_for_line("^peer: ready", READY_SECONDS)
        users = ["--users"] if os.geteuid() == 0 else []  # in a user namespace there are no others
        argv = [*PYTHON, "run", "--directory", str(base), "--peer", f"127.0.0.1:{PEER_PORT}", *users]
        return network.run(argv, uid=way.uid, cwd=suite, timeout=SUITE_SECONDS).stdout.splitlines()

    def _mounted(self, way: Way, network: Network, name: str) -> list[bytes]:
        server = start_nfsd(
            network, self.lab.python, {"/t/v": self.lab.export_directory(f"posix-{name}")},
            arguments=way.server_arguments,
        )  # fmt: skip
        with ExitStack() as guests:
            clients = [guests.enter_context(self.lab.kernel_client(network)) for _ in range(way.clients)]
            for client in clients:
                copy_suite(client.exchange)
                client.mount(MOUNT, export="/t/v", options=robust(server))
            peer_at = start_peer(clients[-1], way.uid)
            argv = [*PYTHON, "run", "--directory", MOUNT, "--peer", peer_at, *(["--users"] if way.mapped else ())]
            argv += way.claims if way.only_peers else ()
            cwd = suite_in(clients[0])
            return clients[0].run(argv, uid=way.uid, cwd=cwd, timeout=SUITE_SECONDS).stdout.splitlines()


def copy_suite(directory: Path) -> Path:
    """Put the suite, and nothing else, where a guest or another user can read it."""
    suite = directory / "suite"
    here = Path(__file__).parent
    shutil.copytree(here / "posix", suite / "integration" / "posix", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(here / "__init__.py", suite / "integration")
    return suite


def suite_in(client: KernelClient) -> str:
    return f"{client.guest_exchange}/suite"


def start_peer(client: KernelClient, uid: int) -> str:
    """A serving peer in the guest, and its address."""
    peer = client.popen([*PYTHON, "peer", f"{client.address}:{PEER_PORT}"], uid=uid, cwd=suite_in(client))
    peer.wait_for_line("^peer: ready", READY_SECONDS)
    return f"{client.address}:{PEER_PORT}"


def robust(server: NfsServer) -> str:
    return mount_options("robust", address=server.address, port=server.port, mountport=server.mount_port)


def skip_unless_reference(uid: int, directory: Path) -> None:
    """The claims are what an ordinary disk does for the real root, and for a user."""
    if uid == 0 and os.geteuid() != 0:
        pytest.skip(
            "the superuser's claims on a local disk need the real one: in a user namespace he may give nothing away"
        )
    kind = file_system_of(directory)
    if kind not in REFERENCES:
        pytest.skip(
            f"{directory} is on {kind}; the reference is {' or '.join(REFERENCES)} (set AEGIS_LAB_DIR or TMPDIR)"
        )


def file_system_of(directory: Path) -> str:
    """The type of the file system, as in /proc/self/mountinfo (proc(5)): fields before " - " are the mount's."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[2] == wanted:
            return kind.split()[0]
    return "an unknown file system"


@pytest.fixture(scope="module")
def runs(lab: Lab) -> Iterator[Runs]:
    yield Runs(lab)


@pytest.mark.parametrize(("way", "area"), [(way, area) for way, areas in AREAS.items() for area in areas])
def test_every_claim_holds_but_for_listed_differences(way: str, area: str, runs: Runs) -> None:
    if WAYS[way].local:
        skip_unless_reference(WAYS[way].uid, runs.lab.scratch)
    outcomes = runs.of(way)
    assert outcomes, f"{way} did not run: see the first of its tests"
    problems = []
    for claim in (name for name in WAYS[way].claims if name.partition(".")[0] == area):
        outcome = outcomes.get(claim) or Outcome(claim, "fail", "the suite ended before it")
        difference = expected(way).get(claim)
        if outcome.result == "fail" and difference is None:
            problems.append(f"{claim}: {outcome.detail}")
        if outcome.result != "fail" and difference is not None and difference.always:
            problems.append(f"{claim}: {outcome.result}, but listed under {difference.title!r}: delete it there")
    assert not problems, f"{way}:\n" + "\n".join(problems)


def test_differences_name_claims_that_exist_each_once() -> None:
    known = {each.name for each in every_claim()}
    named = [(way, claim) for each in DIFFERENCES for way in each.ways for claim in each.claims]
    assert [claim for _way, claim in named if claim not in known] == []
    assert len(named) == len(set(named))
    assert {way for way, _claim in named} <= set(WAYS)


def test_the_document_of_differences_is_the_list() -> None:
    assert DOCUMENT.read_text("utf-8") == document()


def passes() -> None:
    Path("left").mkdir(0o000)


def fails() -> None:
    raise AssertionError("1, wanted 2")


def does_not_apply() -> None:
    raise NotHere("there is none")


def leaves_things_behind() -> None:
    os.open(".", os.O_RDONLY)
    os.umask(0o777)
    os.chdir("/")


def ends_its_process() -> None:
    os._exit(7)


def hangs() -> None:
    signal.pause()


def test_the_runner_tells_every_end_and_goes_on_behind_it(tmp_path: Path) -> None:
    bodies = [passes, fails, leaves_things_behind, ends_its_process, does_not_apply, hangs, passes]
    claims = [Claim(f"area.{number}", body, frozenset()) for number, body in enumerate(bodies)]
    claims.append(Claim("area.with_a_peer", passes, frozenset({PEER})))
    outcomes = list(Runner(str(tmp_path), frozenset(), claim_seconds=1.0).run(claims))
    assert [outcome.claim for outcome in outcomes] == [claim.name for claim in claims]
    assert [outcome.result for outcome in outcomes] == ["ok", "fail", "ok", "fail", "skip", "fail", "ok", "skip"]
    assert "1, wanted 2" in outcomes[1].detail
    assert "ended the process" in outcomes[3].detail
    assert outcomes[4].detail == "there is none"
    assert "not done after 1 s" in outcomes[5].detail
    # What a killed claim leaves is left; everything else is gone, a closed directory too.
    assert sorted(os.listdir(tmp_path)) == ["area.3", "area.5"]


def test_the_runner_puts_back_what_a_claim_changed_in_its_process(tmp_path: Path) -> None:
    runner = Runner(str(tmp_path), frozenset())
    mask, here = os.umask(0o022), os.getcwd()
    try:
        before = len(os.listdir("/proc/self/fd"))
        assert runner.one(Claim("area.messy", leaves_things_behind, frozenset())).result == "ok"
        assert len(os.listdir("/proc/self/fd")) == before
        assert os.getcwd() == str(tmp_path)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(mask)
        os.chdir(here)
