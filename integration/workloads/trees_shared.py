"""Processes that work at random on the same names, and what must hold whoever comes first.

Every name of the pool is made and taken away by calls that either do it or refuse: a call that makes a name
(exclusive creation, mkdir, symlink, link) fails where the name is taken, one that takes it (unlink, rmdir, rename to
a name of one's own) fails where there is none. So for each name, made less taken is 1 or 0, and is whether it is there
at the end. That is the model; everything else is in `judge`.

On several clients at once a file may go while another has it open, or its name remembered: ESTALE is a refusal, too,
and where a client renames what it takes for its open file (`.nfs...`) it may be what another has put there.

Meanwhile the directories are renamed (workers hold them by descriptors), and some files are replaced over and over, as
editors save: whoever reads one has to find a whole version of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from integration.workloads.manifest import Entry

DIRECTORIES = 4
NAMES = tuple(f"n{number}" for number in range(6))
SAVED = tuple(f"saved{number}" for number in range(3))
TOKEN_BYTES = 32

Name = tuple[int, str]
"""A directory's number and a name in it."""


class Wrong(Exception):
    """A call answered what it must not, or the end is not what the calls say."""


@dataclass
class Done:
    """What one process did: names made and taken in the pool, those it has of its own, and the contents it wrote."""

    made: Counter[Name] = field(default_factory=Counter)
    taken: Counter[Name] = field(default_factory=Counter)
    own: set[str] = field(default_factory=set)
    tokens: set[bytes] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)


def prepare(base: str) -> None:
    """The directories, and the first version of each saved file."""
    for number in range(DIRECTORIES):
        os.mkdir(f"{base}/d{number}")
        for name in SAVED:
            with open(f"{base}/d{number}/{name}", "wb") as file:
                file.write(version(b"first"))


def version(token: bytes) -> bytes:
    """A content that tells whether it is whole."""
    return hashlib.sha256(token).digest() + token * 200


def is_whole(content: bytes) -> bool:
    token_bytes = (len(content) - TOKEN_BYTES) // 200
    return content == version(content[TOKEN_BYTES : TOKEN_BYTES + token_bytes])


class Worker:
    """One process. `number` 0 also renames the directories. `clients`: how many work on the tree."""

    def __init__(self, base: str, number: int, seed: str, clients: int = 1) -> None:
        self.base = base
        self.number = number
        self.refusals = frozenset((errno.ESTALE,) if clients > 1 else ())
        self.random = random.Random(seed)
        self.done = Done()
        self.home = f"{base}/w{number}"
        os.mkdir(self.home)
        self.fds = [os.open(f"{base}/d{each}", os.O_RDONLY | os.O_DIRECTORY) for each in range(DIRECTORIES)]
        self.paths = [f"{base}/d{each}" for each in range(DIRECTORIES)]
        self._tokens = 0

    def work(self, operations: int, progress: Callable[[int], None] = lambda _calls: None) -> Done:
        actions = list(ACTIONS)
        weights = list(ACTIONS.values())
        for number in range(operations):
            progress(number)
            action = self.random.choices(actions, weights)[0]
            action(self)
        if self.number == 0:
            for number, path in enumerate(self.paths):
                os.rename(path, f"{self.base}/d{number}")
        return self.done

    def pick(self) -> Name:
        return self.random.randrange(DIRECTORIES), self.random.choice(NAMES)

    def token(self) -> bytes:
        self._tokens += 1
        token = b"%d.%d;" % (self.number, self._tokens)
        self.done.tokens.add(token)
        return token

    def fresh(self) -> str:
        self._tokens += 1
        return f"{self.home}/{self._tokens}"

    def attempt(self, call: Callable[[], object], *allowed: int) -> bool:
        """Whether it was done; refused otherwise than by these errnos is wrong."""
        what = call.__qualname__.partition(".<")[0]
        try:
            call()
        except OSError as error:
            if error.errno not in allowed and error.errno not in self.refusals:
                raise Wrong(f"{what} by {self.number}: {errno.errorcode.get(error.errno or 0)}: {error}") from error
            self.done.calls[f"{what} {errno.errorcode[error.errno]}"] += 1
            return False
        self.done.calls[what] += 1
        return True


def create(worker: Worker) -> None:
    (number, name), token = worker.pick(), worker.token()

    def call() -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=worker.fds[number])
        worker.done.made[number, name] += 1
        with open(fd, "wb", buffering=0) as file:
            file.write(version(token))

    worker.attempt(call, errno.EEXIST)


def mkdir(worker: Worker) -> None:
    number, name = worker.pick()
    if worker.attempt(lambda: os.mkdir(name, 0o755, dir_fd=worker.fds[number]), errno.EEXIST):
        worker.done.made[number, name] += 1


def symlink(worker: Worker) -> None:
    number, name = worker.pick()
    if worker.attempt(lambda: os.symlink("nowhere", name, dir_fd=worker.fds[number]), errno.EEXIST):
        worker.done.made[number, name] += 1


def link(worker: Worker) -> None:
    (number, name), (to_number, to_name) = worker.pick(), worker.pick()
    fds = worker.fds

    def call() -> None:
        os.link(name, to_name, src_dir_fd=fds[number], dst_dir_fd=fds[to_number], follow_symlinks=False)

    if worker.attempt(call, errno.ENOENT, errno.EEXIST, errno.EPERM):
        worker.done.made[to_number, to_name] += 1


def unlink(worker: Worker) -> None:
    number, name = worker.pick()
    if worker.attempt(lambda: os.unlink(name, dir_fd=worker.fds[number]), errno.ENOENT, errno.EISDIR):
        worker.done.taken[number, name] += 1


def rmdir(worker: Worker) -> None:
    number, name = worker.pick()
    if worker.attempt(lambda: os.rmdir(name, dir_fd=worker.fds[number]), errno.ENOENT, errno.ENOTDIR):
        worker.done.taken[number, name] += 1


def take(worker: Worker) -> None:
    """Rename it to a name that only this worker knows."""
    (number, name), mine = worker.pick(), worker.fresh()
    if worker.attempt(lambda: os.rename(name, mine, src_dir_fd=worker.fds[number]), errno.ENOENT):
        worker.done.taken[number, name] += 1
        worker.done.own.add(mine)


def give_back(worker: Worker) -> None:
    """Link one's own file into the pool, and remove one's own name of it."""
    if not worker.done.own:
        return
    (number, name), mine = worker.pick(), worker.random.choice(sorted(worker.done.own))
    refusals = errno.EEXIST, errno.EPERM  # EPERM: it is a directory
    if worker.attempt(lambda: os.link(mine, name, dst_dir_fd=worker.fds[number], follow_symlinks=False), *refusals):
        worker.done.made[number, name] += 1
        try:
            os.unlink(mine)
        except IsADirectoryError:
            # Another client had put a directory in the file's place before `take` renamed it, and this client does not
            # know yet: its kernel moved what it remembered. LINK names a file by its handle, so that was the file.
            return
        worker.done.own.remove(mine)


def chmod(worker: Worker) -> None:
    (number, name), mode = worker.pick(), worker.random.choice((0o755, 0o700, 0o750))
    worker.attempt(lambda: os.chmod(name, mode, dir_fd=worker.fds[number]), errno.ENOENT)


def look(worker: Worker) -> None:
    """No name twice, and none that is not of the pool."""
    number = worker.random.randrange(DIRECTORIES)
    names = [name for name in os.listdir(worker.fds[number]) if not name.startswith(".nfs")]
    if len(names) != len(set(names)) or not set(names) <= {*NAMES, *SAVED} or not set(SAVED) <= set(names):
        raise Wrong(f"d{number} lists {sorted(names)}")


def save(worker: Worker) -> None:
    number, name, mine = worker.random.randrange(DIRECTORIES), worker.random.choice(SAVED), worker.fresh()
    with open(mine, "wb") as file:
        file.write(version(worker.token()))
        file.flush()
        os.fsync(file.fileno())
    worker.attempt(lambda: os.rename(mine, name, dst_dir_fd=worker.fds[number]))


def read_saved(worker: Worker) -> None:
    number, name = worker.random.randrange(DIRECTORIES), worker.random.choice(SAVED)

    def call() -> None:
        fd = os.open(name, os.O_RDONLY, dir_fd=worker.fds[number])
        with open(fd, "rb", buffering=0) as file:
            content = file.readall()
        if not is_whole(content):
            raise Wrong(f"d{number}/{name} is not whole: {len(content)} bytes, {content[:60]!r}")

    worker.attempt(call)


def move_directory(worker: Worker) -> None:
    if worker.number == 0:
        number = worker.random.randrange(DIRECTORIES)
        new = f"{worker.base}/moved{number}.{len(worker.done.tokens)}.{worker.random.randrange(1 << 32)}"
        os.rename(worker.paths[number], new)
        worker.paths[number] = new


ACTIONS: dict[Callable[[Worker], None], float] = {
    create: 14, mkdir: 6, symlink: 4, link: 10, unlink: 12, rmdir: 7, take: 10, give_back: 6, chmod: 4, look: 3,
    save: 6, read_saved: 8, move_directory: 4,
}  # fmt: skip
"""With how often each comes, relative to the others."""


def judge(base: str, entries: Sequence[Entry], done: Sequence[Done]) -> list[str]:
    """What is wrong with the tree that all of them left, a line each."""
    made: Counter[Name] = sum((each.made for each in done), Counter())
    taken: Counter[Name] = sum((each.taken for each in done), Counter())
    wanted = {f"d{number}" for number in range(DIRECTORIES)} | {f"w{number}" for number in range(len(done))}
    wanted |= {f"d{number}/{name}" for number in range(DIRECTORIES) for name in SAVED}
    wanted |= {os.path.relpath(path, base) for each in done for path in each.own}
    problems = []
    for number, name in {*made, *taken}:
        left = made[number, name] - taken[number, name]
        if left not in (0, 1):
            problems.append(f"d{number}/{name}: made {made[number, name]} times, taken {taken[number, name]} times")
        if left == 1:
            wanted.add(f"d{number}/{name}")
    there = {entry.path for entry in entries}
    problems += [f"{path}: is not there" for path in sorted(wanted - there)]
    problems += [f"{path}: is there, and should not" for path in sorted(there - wanted)]
    tokens = {b"first"}.union(*(each.tokens for each in done))
    hashes = {hashlib.sha256(version(token)).hexdigest() for token in tokens}
    problems += [
        f"{entry.path}: holds nothing that was written"
        for entry in entries
        if entry.kind == "file" and entry.content not in hashes
    ]
    return problems
