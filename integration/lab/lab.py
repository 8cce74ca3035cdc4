"""The lab as its users see it: networks, kernel clients, Docker Engines and servers, each gone when its `with` ends."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from integration.lab import engine, kernel, servers
from integration.lab.network import Network
from integration.lab.state import State
from integration.lab.user_python import UserPython, user_python


class Lab:
    """One process's lab. Make one with `Lab.open()`; labs of several processes share the cache and nothing else."""

    def __init__(self, state: State, directory: Path) -> None:
        self.state = state
        self.directory = directory
        self.scratch = (directory / "scratch").resolve()  # any user can walk to it
        self._numbers = itertools.count()
        self._python: UserPython | None = None

    @classmethod
    @contextlib.contextmanager
    def open(cls, root: Path | None = None) -> Iterator[Lab]:
        """A lab with its state below `root` (default `.lab` of the project, or `$AEGIS_LAB_DIR`)."""
        state = State(root)
        with state.run_directory() as directory:
            yield cls(state, directory)

    @property
    def python(self) -> UserPython:
        """A Python with the project that an ordinary user can run."""
        if self._python is None:
            self._python = user_python(self.scratch / "python")
        return self._python

    @contextlib.contextmanager
    def network(self, private: bool = True) -> Iterator[Network]:
        """A network of one's own; everything in it ends with it."""
        directory = self.directory / f"net{next(self._numbers)}"
        directory.mkdir()
        with Network(directory, private) as network:
            yield network

    def export_directory(self, name: str, uid: int = servers.SERVER_UID) -> Path:
        """A new directory that the ordinary user `uid` owns, to be exported by a server of his."""
        path = self.scratch / "exports" / name
        path.mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(path, uid, uid)
        path.chmod(0o750)
        return path

    @contextlib.contextmanager
    def docker_engine(self, topology: engine.Topology = "beside") -> Iterator[engine.DockerEngine]:
        """A real Docker Engine with an NFS client, in a network of its own. The first ever takes a minute longer."""
        native = engine.native_engine() is not None
        with self.network(private=not native) as network:
            if native:
                yield engine.use_native(self.state, network, topology, self.python)
                return
            with engine.load_guest(self.state, network, topology, self.python, self.scratch) as running:
                yield running

    def kernel_client(self, network: Network) -> kernel.KernelClient:
        """A real kernel NFS client on `network`, as a context manager; it also goes with its network."""
        return kernel.start_client(self.state, network)
