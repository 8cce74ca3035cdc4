"""Answers that get lost between the server and the kernel's client, each time with the connection: no program is told.

Of every procedure that must not be done twice one answer is lost, after the work is done (tests/support/lossy.py).
"""

from __future__ import annotations

import sys

from aegis.domain.mounts import mount_options
from integration.lab import Lab
from integration.lab.network import GATEWAY
from integration.lab.servers import NFS_PORT, READY_SECONDS, start_nfsd
from integration.mounted import EXPORT, MOUNT, PYTHON, USER, copy_program
from integration.test_kills import check_host, said
from integration.test_restart import wait_until
from integration.workloads.fire import KINDS
from tests.support import lossy

LOSSY_PORT = NFS_PORT + 1
LOST_SECONDS = 180.0  # the client waits a few seconds before it connects again


def test_a_lost_answer_of_every_procedure_that_must_not_be_repeated_is_seen_by_no_program(lab: Lab) -> None:
    with lab.network() as network, lab.kernel_client(network) as client:
        host = lab.export_directory("lost-replies")
        start_nfsd(network, lab.python, {EXPORT: host}, arguments=["--uid", str(USER), "--gid", str(USER)])
        way = network.popen(
            [sys.executable, "-I", lossy.__file__, GATEWAY, str(LOSSY_PORT), GATEWAY, str(NFS_PORT)], name="lossy"
        )
        network.on_close(way.close)
        network.wait_for_port(GATEWAY, LOSSY_PORT, READY_SECONDS, way)
        copy_program(client.exchange / "program")
        options = mount_options("robust", address=GATEWAY, port=LOSSY_PORT, mountport=LOSSY_PORT)
        client.mount(MOUNT, export=EXPORT, options=options)
        stop = client.exchange / "stop"
        working = client.popen(
            [*PYTHON, "fire", "--directory", MOUNT, "--stop", f"{client.guest_exchange}/stop"],
            cwd=f"{client.guest_exchange}/program", uid=USER, name="fire",
        )  # fmt: skip
        wait_until(
            lambda: way.output().count("lost") >= len(lossy.PROCEDURES) or working.poll() is not None, LOST_SECONDS
        )
        stop.touch()
        status = working.wait(300)
        results = said(working.output())
        assert status == 0 and results.keys() == KINDS.keys(), working.output()
        assert {int(line.split()[1]) for line in way.output().splitlines() if "lost" in line} == {*lossy.PROCEDURES}
        check_host(host, results)
