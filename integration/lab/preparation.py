"""What is made once and kept in the cache: the container images, and the Docker guest's saved state.

Both are named by a hash of everything they were made of, so a security update of Docker, another set of Python
libraries or a changed script here makes a new one at the next use, and nothing else does. The project's own code is not
in them.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from integration.lab import debian, images, machine, user_python
from integration.lab.docker_api import DockerApi
from integration.lab.guest import Guest
from integration.lab.network import ENGINE_NUMBER, Network
from integration.lab.state import State

log = logging.getLogger(__name__)

ENGINE_PORT = 2375
PREPARE_SECONDS = 900.0
BOOT_SECONDS = 240.0
BUSYBOX_IMAGE = "aegis-lab/busybox"
PYTHON_IMAGE = "aegis-lab/python"
IMAGES = {BUSYBOX_IMAGE: "busybox.tar", PYTHON_IMAGE: "python.tar"}
IMAGE_CHANGES = (
    "ENV PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
    "ENV HOME=/tmp",
    "ENV LANG=C.UTF-8",
    "WORKDIR /tmp",
    'CMD ["/bin/sh"]',
)

_HERE = Path(__file__).parent
_IMAGE_SOURCES = ("images.py", "tree.py")
_GUEST_SOURCES = (
    *_IMAGE_SOURCES, "agent.py", "machine.py", "preparation.py", "user_python.py", "qemu_init.sh", "qemu_dockerd.sh",
)  # fmt: skip
# Read once before saving, so that a first container, network and daemon find their files in the page cache.
_WARM_IN_CONTAINER = "git --version && python3 -c 'import asyncio, json, sqlite3, urllib.request, venv'"
_WARM_IN_GUEST = f"find {images.LIBRARIES} -name '*.so' -o -name '*.pyc' | xargs cat >/dev/null; sync"


def prepare_images(state: State) -> Path:
    """The directory with the container images, as archives for `docker import`."""
    debian.ensure(state, debian.DOCKER)
    return state.prepared(
        "images", _key(_IMAGE_SOURCES, debian.versions(debian.DOCKER)), _build_images, PREPARE_SECONDS
    )


def prepare_guest(state: State, network: Network) -> Path:
    """The directory with the Docker guest's saved state; made now, in about a minute, if it is not there."""
    archives = prepare_images(state)
    package = debian.guest_kernel(state)
    key = _key(
        _GUEST_SOURCES, package.name, archives.name, debian.versions(debian.DOCKER), user_python.library_versions()
    )
    return state.prepared(
        "engine", key, lambda target: _build_guest(network, package, archives, target), PREPARE_SECONDS
    )


def import_images(api: DockerApi, archives: Path) -> None:
    """Give an engine the images it does not have."""
    for name, archive in IMAGES.items():
        if not api.has_image(name):
            log.info("importing %s", name)
            api.import_image(name, archives / archive, IMAGE_CHANGES)


def _key(sources: Sequence[str], *words: str) -> str:
    digest = hashlib.sha256()
    for content in (*(word.encode() for word in words), *((_HERE / name).read_bytes() for name in sources)):
        digest.update(content + b"\0")
    return digest.hexdigest()[:16]


def _build_images(target: Path) -> None:
    log.info("building the container images")
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        images.build_busybox_image(Path(scratch) / "busybox", target / IMAGES[BUSYBOX_IMAGE])
        images.build_python_image(Path(scratch) / "python", target / IMAGES[PYTHON_IMAGE])


def _build_guest(network: Network, package: Path, archives: Path, target: Path) -> None:
    """Make the guest's files, boot it once, load the images, warm its caches, and freeze it."""
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        log.info("building the Docker guest's disk")
        unpacked = images.unpack_kernel(package, Path(scratch) / "kernel")
        images.build_boot_files(unpacked, target / "vmlinuz", target / "initrd")
        images.build_guest_tree(Path(scratch) / "root", unpacked)
        images.build_disk(network, Path(scratch) / "root", target / "disk")
    tap = network.tap(ENGINE_NUMBER)
    log.info("booting it")
    with machine.boot(network, tap, target) as running:
        guest = Guest(network, tap.address, running.console)
        api = DockerApi(lambda: network.connect(tap.address, ENGINE_PORT))
        api.wait_until_ready(BOOT_SECONDS, running.console)
        import_images(api, archives)
        log.info("warming it up")
        _warm_up(api, guest)
        log.info("saving its state")
        running.save(target / "state")
    network.untap(tap)


def _warm_up(api: DockerApi, guest: Guest) -> None:
    api.run(BUSYBOX_IMAGE, ["true"]).check()
    network = api.call("POST", "/networks/create", {"Name": "warm-up", "Internal": True})
    api.run(PYTHON_IMAGE, ["sh", "-c", _WARM_IN_CONTAINER], network="warm-up").check()
    api.call("DELETE", f"/networks/{network['Id']}")
    guest.run(["sh", "-c", _WARM_IN_GUEST], timeout=BOOT_SECONDS).check()
