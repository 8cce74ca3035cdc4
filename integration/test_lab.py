"""The lab itself: what the other integration tests stand on. nfs-ganesha serves here, so a failure is the lab's."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from integration.lab import CommandTimeout, KernelClient, Lab, LabError, Network, NfsServer
from integration.lab.kernel import start_client
from integration.lab.state import PROJECT, State

AGENT_USER = 1000


def test_a_file_written_through_the_kernel_as_uid_1000_is_on_the_server(
    kernel_client: KernelClient, ganesha: NfsServer, export: Path
) -> None:
    kernel_client.mount("/mnt/a", export="/t/v", options=ganesha.options())
    kernel_client.run(["sh", "-c", "echo hello >f"], cwd="/mnt/a", uid=AGENT_USER, timeout=10).check()
    assert (export / "f").read_text() == "hello\n"
    assert (export / "f").stat().st_uid == AGENT_USER
    mounts = kernel_client.run(["grep", " /mnt/a nfs ", "/proc/mounts"], timeout=10).check().text
    assert "vers=3" in mounts and "mountproto=tcp" in mounts


def test_the_kernel_refuses_an_export_that_is_not_there(kernel_client: KernelClient, ganesha: NfsServer) -> None:
    with pytest.raises(PermissionError, match="/nope"):
        kernel_client.mount("/mnt/a", export="/nope", options=ganesha.options())


def test_two_clients_see_each_others_files_after_dropping_caches(
    lab: Lab, network: Network, kernel_client: KernelClient, ganesha: NfsServer
) -> None:
    with lab.kernel_client(network) as other:
        for client in (kernel_client, other):
            client.mount("/mnt/a", export="/t/v", options=ganesha.options())
        kernel_client.run(["sh", "-c", "echo one >f"], cwd="/mnt/a", timeout=10).check()
        assert other.run(["cat", "f"], cwd="/mnt/a", timeout=10).check().text == "one"
        kernel_client.run(["sh", "-c", "echo two >f"], cwd="/mnt/a", timeout=10).check()
        other.drop_caches()
        assert other.run(["cat", "f"], cwd="/mnt/a", timeout=10).check().text == "two"


def test_a_killed_client_is_gone_and_the_other_goes_on(lab: Lab, network: Network, kernel_client: KernelClient) -> None:
    doomed = lab.kernel_client(network)
    doomed.kill()
    assert not doomed.alive
    with pytest.raises(LabError):
        doomed.run(["true"], timeout=5)
    assert kernel_client.run(["echo", "here"], timeout=10).text == "here"


def test_commands_have_their_own_streams_status_user_and_groups(kernel_client: KernelClient) -> None:
    result = kernel_client.run(
        ["sh", "-c", "id -u; id -g; id -G; echo bad >&2; exit 7"], uid=1234, gid=55, groups=[5, 77], timeout=10
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"1234\n55\n55 5 77\n", b"bad\n", 7)
    assert kernel_client.run(["sh", "-c", "kill -9 $$"], timeout=10).returncode == -signal.SIGKILL
    with pytest.raises(FileNotFoundError):
        kernel_client.run(["/no/such/program"], timeout=10)


def test_large_input_and_output_pass_unchanged(kernel_client: KernelClient) -> None:
    data = os.urandom(3 << 20)
    assert kernel_client.run(["cat"], input=data, timeout=60).check().stdout == data


def test_a_command_past_its_timeout_is_killed_with_its_children(kernel_client: KernelClient) -> None:
    with pytest.raises(CommandTimeout, match="begun"):
        kernel_client.run(["sh", "-c", "echo begun; sleep 4321 & sleep 4321"], timeout=1)
    listing = ["sh", "-c", "while pgrep -f 'sleep [4]321' >/dev/null; do sleep 0.05; done"]
    kernel_client.run(listing, timeout=20).check()


def test_files_pass_through_the_exchange_directory_both_ways(kernel_client: KernelClient) -> None:
    (kernel_client.exchange / "in").write_text("x")
    copy = ["cp", f"{kernel_client.guest_exchange}/in", f"{kernel_client.guest_exchange}/out"]
    kernel_client.run(copy, timeout=10).check()
    assert (kernel_client.exchange / "out").read_text() == "x"


def test_a_program_in_a_guest_can_be_followed_and_stopped(kernel_client: KernelClient) -> None:
    program = kernel_client.popen(["sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"])
    program.wait_for_line("^up$", 10)
    assert program.poll() is None
    assert program.stop() == 3
    assert "bye" in program.output()


def test_the_native_client_runs_commands_in_namespaces_of_its_own(lab: Lab, network: Network) -> None:
    # Its mounts need a kernel with NFS, which `kernel_client` uses wherever it is; the rest works on any machine.
    with start_client(lab.state, network, native=True) as client:
        assert client.run(["id", "-u"], uid=AGENT_USER, timeout=10).check().text == str(AGENT_USER)
        assert client.address in client.run(["ip", "-4", "addr"], timeout=10).check().text
        inside = client.run(["readlink", "/proc/self/ns/mnt"], timeout=10).check().text
        assert inside != os.readlink("/proc/self/ns/mnt")


def test_programs_in_the_network_run_as_an_ordinary_user_and_answer_on_its_addresses(network: Network) -> None:
    server = network.popen(["python3", "-m", "http.server", "--bind", network.gateway, "8080"], uid=990, cwd="/")
    network.wait_for_port(network.gateway, 8080, 20, server)
    assert os.stat(f"/proc/{server.pid}").st_uid == 990
    with network.connect(network.gateway, 8080) as peer:
        peer.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.0 200")
    assert server.stop() == -signal.SIGTERM


def test_a_program_that_dies_instead_of_answering_is_quoted(network: Network) -> None:
    server = network.popen(["sh", "-c", "echo no such export; exit 4"])
    with pytest.raises(LabError, match=r"ended with 4[\s\S]*no such export"):
        network.wait_for_port(network.gateway, 1, 20, server)


def test_the_test_process_can_serve_inside_the_network(network: Network) -> None:
    with network.listen(network.gateway, 2049) as server, network.connect(network.gateway, 2049) as client:
        accepted, _address = server.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


def test_two_networks_use_the_same_addresses_and_do_not_meet(lab: Lab, network: Network) -> None:
    with lab.network() as other, network.listen(network.gateway, 2049), pytest.raises(ConnectionRefusedError):
        other.connect(other.gateway, 2049)


def test_an_ordinary_user_can_import_the_project(lab: Lab, network: Network) -> None:
    python = lab.python
    result = network.run([*python.argv, "-c", "import nfsd"], uid=990, env=python.env, cwd=python.cwd, timeout=30)
    result.check()


CRASH = """
import os, signal, sys
from integration.lab import Lab
with Lab.open() as lab, lab.network() as network:
    client = lab.kernel_client(network)
    server = network.popen(["sleep", "5432"], uid=1000)
    print(lab.directory, lab.scratch, server.pid, network.popen(["sleep", "5432"]).pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_test_process_leaves_nothing_behind(lab: Lab) -> None:
    links_before = _links()
    crashed = subprocess.run(
        [sys.executable, "-c", CRASH], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    directory, scratch, *pids = crashed.stdout.split()
    for pid in pids:
        _wait_until_gone(int(pid))
    assert _links() == links_before
    assert directory not in Path("/proc/self/mounts").read_text()
    assert Path(directory) in State(lab.state.root).sweep()
    assert not Path(directory).exists() and not Path(scratch).exists()
    for pid in _processes_with(directory):  # what User Mode Linux traces goes a moment after it
        _wait_until_gone(pid)


def test_a_closed_lab_leaves_no_process_no_device_and_no_file(lab: Lab) -> None:
    links_before = _links()
    with Lab.open(lab.state.root) as other, other.network() as network, other.kernel_client(network):
        directory, scratch = other.directory, other.scratch
        assert _processes_with(str(directory))
    for pid in _processes_with(str(directory)):
        _wait_until_gone(pid)
    assert not directory.exists() and not scratch.exists()
    assert _links() == links_before


def _links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def _processes_with(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if word in line:
            found.append(int(entry.parent.name))
    return found


def _wait_until_gone(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], 20)[0], f"process {pid} outlived its test process"
    os.close(fd)
