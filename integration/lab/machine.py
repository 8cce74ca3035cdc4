"""A QEMU machine: its command line, its monitor, and saving and loading its whole state.

KVM is not asked for: the lab has to be the same on machines that have none, and a state saved under one accelerator
cannot be loaded under another. Without it a boot takes ten seconds, so it is done once. The guest's memory is a file.
For saving it is mapped shared, and the migration stream carries the devices only (`x-ignore-shared`); for loading it is
mapped privately, so that a load reads nothing but what is touched, and any number of machines share the cached pages.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from integration.lab.errors import LabError, tail
from integration.lab.guest import AGENT_PORT
from integration.lab.network import HOST, Network, Tap
from integration.lab.process import POLL_SECONDS, Process

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 2048
MONITOR_SECONDS = 30.0
STATE_SECONDS = 60.0
# What costs an emulated CPU time and protects nobody here is off. clearcpuid=112 is REP_GOOD: the kernel then
# clears and copies pages with unrolled moves, which translate better than `rep movs`.
_KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check cryptomgr.notests nowatchdog "
    "random.trust_cpu=on clearcpuid=112 init_on_alloc=0 transparent_hugepage=never selinux=0 apparmor=0 audit=0 "
    "hardened_usercopy=off randomize_kstack_offset=off"
)


class Monitor:
    """QMP, the machine's control protocol, over a socket that is its standard input and output."""

    def __init__(self, peer: socket.socket, console: Path) -> None:
        peer.settimeout(MONITOR_SECONDS)
        self._peer = peer
        self._stream = peer.makefile("rwb")
        self._console = console
        self._events: list[str] = []
        self._read()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command; `LabError` with QEMU's words when it refuses."""
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._stream.flush()
        while True:
            message = self._read()
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise LabError(f"QEMU refused {command}: {message['error']['desc']}\n{tail(self._console)}")
            self._events.append(message["event"])

    def wait_for_event(self, name: str) -> None:
        """Return once the machine has reported this event, or has done so since the monitor was opened."""
        while name not in self._events:
            self._events.append(self._read().get("event", ""))

    def close(self) -> None:
        self._stream.close()
        self._peer.close()

    def _read(self) -> Any:
        try:
            line = self._stream.readline()
        except TimeoutError:
            raise LabError(f"QEMU said nothing for {MONITOR_SECONDS:.0f} s\n{tail(self._console)}") from None
        if not line:
            raise LabError(f"QEMU ended\n{tail(self._console)}")
        return json.loads(line)


class Machine:
    """A running QEMU machine. Closing kills it."""

    def __init__(self, process: Process, monitor: Monitor, console: Path) -> None:
        self.process = process
        self.monitor = monitor
        self.console = console

    def save(self, target: Path) -> None:
        """Freeze the machine and write its devices' state; the memory file and the disk are the rest. It ends here."""
        self.monitor.execute(
            "migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}]
        )  # Not stopped first: a machine saved while stopped would also be stopped after loading.
        self.monitor.execute("migrate", uri=f"exec:cat >{target}")
        deadline = time.monotonic() + STATE_SECONDS
        while (state := self.monitor.execute("query-migrate").get("status")) != "completed":
            if state in ("failed", "cancelled") or time.monotonic() > deadline:
                raise LabError(f"saving the machine's state ended as {state!r}\n{tail(self.process.log)}")
            time.sleep(POLL_SECONDS)
        self.monitor.execute("quit")
        self.process.wait(STATE_SECONDS)

    def close(self) -> None:
        """Pull the plug. Safe to repeat."""
        self.monitor.close()
        self.process.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def boot(network: Network, tap: Tap, directory: Path) -> Machine:
    """Boot the machine whose files lie in `directory`, writing to its disk and its memory file there."""
    return _start(network, tap, directory, "share=on", "snapshot=off", [])


def load(network: Network, tap: Tap, directory: Path) -> Machine:
    """A machine as it was saved, running; what it writes is thrown away."""
    machine = _start(network, tap, directory, "share=off", "snapshot=on", ["-incoming", "defer"])
    capabilities = [{"capability": "x-ignore-shared", "state": True}]
    machine.monitor.execute("migrate-set-capabilities", capabilities=capabilities)
    machine.monitor.execute("migrate-incoming", uri=f"exec:cat {directory / 'state'}")
    machine.monitor.wait_for_event("RESUME")
    return machine


def _start(network: Network, tap: Tap, directory: Path, share: str, snapshot: str, more: list[str]) -> Machine:
    ours, theirs = socket.socketpair()
    console = network.directory / f"qemu-{tap.name}-console.log"
    # The two sides of a saved state must be given the same machine: only sharing, snapshot and incoming may differ.
    words = [
        QEMU, "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem", "-M", "q35,memory-backend=ram",
        "-object", f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={directory / 'ram'},{share}",
        "-m", str(MEMORY_MIB), "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd"),
        "-append", f"{_KERNEL_ARGUMENTS} LAB_ADDRESS={tap.address} LAB_GATEWAY={HOST} LAB_PORT={AGENT_PORT}",
        "-drive", f"file={directory / 'disk'},if=none,id=disk,format=raw,cache=unsafe,file.locking=off,{snapshot}",
        "-device", "virtio-blk-pci,drive=disk",
        "-netdev", f"tap,id=net,ifname={tap.name},script=no,downscript=no,vhost=off",
        "-device", f"virtio-net-pci,netdev=net,mac={tap.mac}",
        "-serial", f"file:{console}",
        "-chardev", "stdio,id=monitor,signal=off", "-mon", "chardev=monitor,mode=control",
        *more,
    ]  # fmt: skip
    with theirs:
        process = network.popen(words, name=f"qemu-{tap.name}", stdio=theirs)
    try:
        return Machine(process, Monitor(ours, process.log), console)
    except BaseException:
        ours.close()
        process.close()
        raise
