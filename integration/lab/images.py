"""What goes into the Docker guest: its root disk, its kernel and initrd, and the container images.

Built from this machine's Debian packages in about ten seconds, without root's loop devices: `mke2fs -d` fills the disk
from a directory, and the initrd is written here, because a device node in it would need mknod.
"""

from __future__ import annotations

import filecmp
import gzip
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from integration.lab import agent
from integration.lab.errors import LabError
from integration.lab.network import Network
from integration.lab.tree import BUSYBOX, Tree
from integration.lab.user_python import stage_libraries

DISK_BYTES = 4 << 30
BUILD_SECONDS = 120
DAEMON_UID = 990
DOCKER_GID = 999
AGENT_UID = 1000
LIBRARIES = "/opt/libraries"
GUEST_DIRECTORY = "/opt/lab"
_HERE = Path(__file__).parent

_DOCKER_PROGRAMS = (
    "dockerd", "containerd", "containerd-shim-runc-v2", "runc", "crun", "docker-init", "docker-proxy",
    "xtables-legacy-multi", "ip",
)  # fmt: skip
_IPTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
_XTABLES = Path("/usr/lib/x86_64-linux-gnu/xtables")

# Loaded by the initrd in this order; the rest by name, as the guest asks for it.
_BOOT_MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
    "failover", "net_failover", "virtio_net",
)  # fmt: skip
_MODULE_TREES = (
    "fs/nfs", "fs/nfs_common", "fs/lockd", "fs/fscache", "fs/netfs", "fs/overlayfs", "net/sunrpc", "net/bridge",
    "net/802", "net/llc", "net/netfilter", "net/core", "net/ipv6", "net/xfrm", "net/ipv4/netfilter", "net/key",
    "drivers/net/veth.ko", "drivers/net/dummy.ko", "drivers/net/virtio_net.ko", "drivers/net/net_failover.ko",
    "drivers/virtio", "drivers/block/virtio_blk.ko", "lib", "crypto",
)  # fmt: skip

_INITRD_INIT = f"""#!/bin/busybox sh
b=/bin/busybox
for m in {" ".join(_BOOT_MODULES)}; do $b insmod /modules/$m.ko; done
$b mount -t devtmpfs dev /dev
tries=0
while [ ! -e /dev/vda ] && [ $tries -lt 100 ]; do $b sleep 0.05; tries=$((tries + 1)); done
$b mount -t ext4 -o noatime /dev/vda /newroot || $b poweroff -f
exec $b switch_root /newroot {GUEST_DIRECTORY}/init
"""

# Programs an agent's container is expected to have; the coreutils come from the package's own list.
_CONTAINER_PROGRAMS = (
    "bash", "tar", "gzip", "git", "find", "xargs", "grep", "sed", "diff", "cmp", "patch",
)  # fmt: skip


def build_busybox_image(scratch: Path, target: Path) -> None:
    """The image `aegis-lab/busybox`: busybox and nothing else, no Python."""
    tree = Tree(scratch)
    tree.users(agent=AGENT_UID)
    tree.busybox()
    tree.tar(target)


def build_python_image(scratch: Path, target: Path) -> None:
    """The image `aegis-lab/python`: Python with venv and sqlite, git, GNU tar, bash and coreutils."""
    tree = Tree(scratch)
    tree.users(agent=AGENT_UID)
    tree.python()
    tree.programs(*(name for name in _CONTAINER_PROGRAMS if shutil.which(name)), *_coreutils())
    _git_helpers(tree)
    tree.link("/usr/bin/sh", "bash")
    tree.busybox()
    tree.tar(target)


def build_guest_tree(scratch: Path, kernel: Path) -> None:
    """The root of the guest: Docker, iptables, Python with the project's libraries, the lab's agent."""
    tree = Tree(scratch)
    tree.users(aegis=DAEMON_UID, agent=AGENT_UID)
    with tree.path("/etc/group").open("a", encoding="utf-8") as groups:
        groups.write(f"docker:x:{DOCKER_GID}:aegis\n")
    tree.write("/etc/resolv.conf", "")
    tree.directory("/etc/docker")
    tree.directory("/var/lib/docker", 0o710)
    tree.programs(*_DOCKER_PROGRAMS)
    for name in _IPTABLES:
        tree.link(f"/usr/sbin/{name}", "xtables-legacy-multi")
    tree.copy_tree(_XTABLES, str(_XTABLES))
    tree.libraries(_XTABLES.glob("*.so"))
    tree.python()
    stage_libraries(tree.path(LIBRARIES))
    tree.libraries(tree.path(LIBRARIES).rglob("*.so"))
    tree.directory(GUEST_DIRECTORY)
    for name, source in {"init": "qemu_init.sh", "dockerd": "qemu_dockerd.sh"}.items():
        tree.write(f"{GUEST_DIRECTORY}/{name}", (_HERE / source).read_text("utf-8"), 0o755)
    shutil.copy(agent.__file__, tree.path(f"{GUEST_DIRECTORY}/agent.py"))
    tree.busybox()
    modules = next((kernel / "lib/modules").iterdir())
    _copy_modules(modules, tree)


def build_disk(network: Network, tree: Path, target: Path) -> None:
    """An ext4 image of a tree. Built by the network's root, whose user namespace makes the files root's without
    root."""
    network.run(
        ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-m", "0", "-d", str(tree), str(target),
         f"{DISK_BYTES >> 10}k"],
        timeout=BUILD_SECONDS,
    ).check()  # fmt: skip


def unpack_kernel(package: Path, target: Path) -> Path:
    """Unpack a kernel .deb; returns the directory with `boot` and `lib/modules`."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(target)], check=True, timeout=BUILD_SECONDS)
    return target


def build_boot_files(kernel: Path, vmlinuz: Path, initrd: Path) -> None:
    """The kernel image, and an initrd of busybox and the modules that reach the disk."""
    shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), vmlinuz)
    modules = next((kernel / "lib/modules").iterdir())
    members: list[tuple[str, int, bytes]] = [
        (name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "modules", "newroot", "proc")
    ]
    members.append(("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes()))
    members.append(("init", stat.S_IFREG | 0o755, _INITRD_INIT.encode()))
    for name in _BOOT_MODULES:
        found = next(modules.rglob(f"{name}.ko"), None)
        if found is None:
            raise LabError(f"{kernel} has no module {name}: not a Debian cloud kernel the lab knows")
        members.append((f"modules/{name}.ko", stat.S_IFREG | 0o644, found.read_bytes()))
    with gzip.open(initrd, "wb", compresslevel=1) as archive:
        for chunk in _cpio(members):
            archive.write(chunk)


def _cpio(members: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """The newc format (Documentation/driver-api/early-userspace/buffer-format.rst), with /dev/console for the
    kernel."""
    console = ("dev/console", stat.S_IFCHR | 0o600, b"")
    for number, (name, mode, data) in enumerate([*members, console, ("TRAILER!!!", 0, b"")], start=1):
        device = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        yield head + bytes(-len(head) % 4)
        yield data + bytes(-len(data) % 4)


def _copy_modules(modules: Path, tree: Tree) -> None:
    target = tree.path(f"/usr/lib/modules/{modules.name}")
    for name in _MODULE_TREES:
        source = modules / "kernel" / name
        if source.is_dir():
            shutil.copytree(source, target / "kernel" / name)
        elif source.exists():
            (target / "kernel" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / "kernel" / name)
    shutil.copy(modules / "modules.builtin", target)
    subprocess.run(
        [str(BUSYBOX), "depmod", "-b", str(tree.root), modules.name], check=True, timeout=BUILD_SECONDS,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _coreutils() -> list[str]:
    listing = subprocess.run(["dpkg", "-L", "coreutils"], capture_output=True, text=True, check=True, timeout=30).stdout
    return [Path(line).name for line in listing.split() if Path(line).parent.name in ("bin", "sbin")]


def _git_helpers(tree: Tree) -> None:
    """git finds its subcommands in git-core; nearly all are the one program, linked here instead of copied 140
    times."""
    core, git = Path("/usr/lib/git-core"), Path("/usr/bin/git")
    tree.directory(str(core))
    for path in core.iterdir():
        inside = tree.path(core / path.name)
        # Links of one kind or the other to git, or, where the package was unpacked without them, equal copies.
        if path.is_file() and filecmp.cmp(path, git):
            inside.symlink_to(git)
        elif path.is_file() and path.stat().st_size < 1 << 18:  # the shell helpers, not the network transports
            shutil.copy2(path, inside)
    if Path("/usr/share/git-core/templates").is_dir():
        tree.copy_tree(Path("/usr/share/git-core/templates"), "/usr/share/git-core/templates")
