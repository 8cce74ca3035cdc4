"""What a workspace survives: the server killed in the middle of work, and started again."""

from __future__ import annotations

import io
import random
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from aegis.domain.mounts import mount_options
from integration.lab import KernelClient, Lab, Network, NfsServer
from integration.lab.servers import start_nfsd

FILES = 4000
DOWN_SECONDS = 2.0


def archive(seed: int = 7) -> tuple[bytes, dict[str, bytes]]:
    """A tar of small files in nested directories, and what each one holds."""
    source = random.Random(seed)
    contents = {f"d{n % 40}/e{n % 7}/f{n}": source.randbytes(source.randrange(0, 4000)) for n in range(FILES)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.uid, entry.gid = len(content), 1_000_000_000, 1000, 1000
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue(), contents


def test_kill_9_in_the_middle_of_an_untar_and_a_restart_cost_time_and_nothing_else(
    lab: Lab, network: Network, kernel_client: KernelClient
) -> None:
    host = lab.export_directory("restart")
    state = lab.export_directory("restart-state")
    packed, contents = archive()
    (kernel_client.exchange / "archive.tar").write_bytes(packed)

    def start() -> NfsServer:
        return start_nfsd(
            network, lab.python, {"/t/v": host}, arguments=["--state-dir", str(state), "--uid", "1000", "--gid", "1000"]
        )

    server = start()
    options = mount_options("robust", address=server.address, port=server.port, mountport=server.mount_port)
    kernel_client.mount("/mnt/a", export="/t/v", options=options)
    untar = kernel_client.popen(
        ["tar", "xf", f"{kernel_client.guest_exchange}/archive.tar"], cwd="/mnt/a", uid=1000, name="untar"
    )
    wait_until(lambda: sum(1 for _ in host.rglob("f*")) > FILES // 10, 60)
    assert untar.poll() is None, "the untar was over before the server was killed"
    server.kill()
    assert untar.poll() is None
    server.close()
    time.sleep(DOWN_SECONDS)  # the outage itself: nothing is waited for
    restarted = start()

    assert untar.wait(240) == 0, untar.output()
    assert unpacked(host) == contents
    kernel_client.drop_caches()
    read_back = kernel_client.run(
        ["tar", "df", f"{kernel_client.guest_exchange}/archive.tar"], cwd="/mnt/a", timeout=120
    )
    assert read_back.returncode == 0, read_back.stdout + read_back.stderr
    assert restarted.stop() == 0


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Look again and again, for at most `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def unpacked(host: Path) -> dict[str, bytes]:
    return {str(path.relative_to(host)): path.read_bytes() for path in host.rglob("*") if path.is_file()}
