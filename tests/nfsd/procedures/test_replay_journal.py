"""What an earlier process left behind: its answers are given again, and what it had no time to answer is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from nfsd.handles import HANDLE_BYTES
from nfsd.limits import REPLAY_REPETITIONS_MAX, REPLAY_SECONDS_MAX
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Nfsstat3, Proc
from nfsd.nfs3.restypes import unpack_result
from nfsd.nfs3.results import encode_failure
from nfsd.procedures.counts import ProcedureCounts
from nfsd.procedures.replayed import Kept, ReplayGuard, Waiting
from nfsd.rpc.auth import ANONYMOUS
from nfsd.rpc.replay import Key, replay_key

ARGUMENTS = bytearray(b"a handle and a name.")
WAITING = (Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD, Proc.REMOVE, Proc.RMDIR, Proc.RENAME, Proc.LINK)


class Peer:
    host = "10.0.0.1"


class MemoryJournal:
    """Keeps what it is told, in order."""

    def __init__(self, *recovered: Kept) -> None:
        self._recovered = list(recovered)
        self.told: list[tuple[Key, bytes | None]] = []
        self.at: Key | None = None

    def recovered(self) -> list[Kept]:
        return self._recovered

    def intended(self, key: Key) -> None:
        self.at = key

    def begun(self, key: Key) -> None:
        self.told.append((key, None))

    def done(self, key: Key, body: bytes) -> None:
        self.told.append((key, body))


class World:
    """A guard, and a handler that counts how often it is called."""

    def __init__(self, *recovered: Kept) -> None:
        self.journal = MemoryJournal(*recovered)
        self.flushes = self.calls = 0
        self.now = 1000.0
        self.guard = ReplayGuard(ProcedureCounts(), lambda: self.now, self.journal, self._flush)

    async def _flush(self) -> None:
        self.flushes += 1

    def call(self, proc: Proc, result: Any = b"results") -> Any:
        def handler(*_: object) -> Any:
            self.calls += 1
            return result

        call = (7, 100003, 3, int(proc))
        return self.guard(handler, Peer(), call, ANONYMOUS, ARGUMENTS, 0, len(ARGUMENTS))


def key(proc: Proc) -> Key:
    return replay_key(Peer.host, ANONYMOUS.uid, 7, 100003, 3, int(proc), ARGUMENTS, 0, len(ARGUMENTS))


def create(how: Createmode3, name: bytes) -> bytearray:
    """The arguments of a CREATE."""
    verifier = b"verifier" if how is Createmode3.EXCLUSIVE else None
    where = t.Diropargs3(bytes(HANDLE_BYTES), name)
    return bytearray(bytes(t.Create3Args(where, (how, None if verifier else t.Sattr3(mode=0o644), verifier))))


async def soon(value: Any) -> Any:
    return value


def waiting(executed: bool = True) -> Waiting:
    """Of a call that waits for its flush; or for its file to be found, first."""
    made = Waiting()
    made.awaitable = soon(b"results")
    made.executed = executed
    return made


def test_the_answer_of_an_earlier_process_is_given_again() -> None:
    world = World(Kept(key(Proc.REMOVE), b"its answer", 5.0))
    assert world.call(Proc.REMOVE) == b"its answer"
    assert world.calls == 0


def test_an_answer_too_old_is_not() -> None:
    world = World(
        Kept(key(Proc.REMOVE), b"its answer", REPLAY_SECONDS_MAX + 1),
        Kept(key(Proc.MKDIR), None, REPLAY_SECONDS_MAX + 1),
    )
    assert world.call(Proc.REMOVE) == b"results"
    assert world.call(Proc.MKDIR) == b"results"


@pytest.mark.parametrize("proc", WAITING)
async def test_what_had_its_effect_and_no_answer_is_flushed_and_answered_with_success(proc: Proc) -> None:
    world = World(Kept(key(proc), None, 5.0))
    first = world.call(proc)
    assert isinstance(first, Awaitable)
    again = world.call(proc)  # meanwhile, once more: it is being worked on
    body = await first
    assert await again == body
    assert unpack_result(proc, body)[0] is Nfsstat3.NFS3_OK
    assert world.call(proc) == body
    assert (world.calls, world.flushes) == (0, 1)
    assert world.journal.told == [(key(proc), body)]


@pytest.mark.parametrize("proc", WAITING)
async def test_a_call_that_waits_for_its_flush_is_written_down_before_and_after(proc: Proc) -> None:
    world = World()
    pending = world.call(proc, waiting())
    assert world.journal.told == [(key(proc), None)]
    assert await pending == b"results"
    assert world.journal.told == [(key(proc), None), (key(proc), b"results")]


async def test_a_call_that_waits_for_its_file_to_be_found_has_had_no_effect() -> None:
    """Were it written down as begun, and the process killed, the next one would claim that it was done."""
    world = World()
    pending = world.call(Proc.REMOVE, waiting(executed=False))
    assert world.journal.told == []
    assert await pending == b"results"
    assert world.journal.told == [(key(Proc.REMOVE), b"results")]


async def test_when_its_file_was_found_and_it_waits_for_its_flush_it_is_written_down() -> None:
    """So is every first call after a restart: its handle is known to nobody yet."""
    world = World()
    found = waiting(executed=False)
    pending = world.call(Proc.REMOVE, found)
    found.effect()
    assert world.journal.told == [(key(Proc.REMOVE), None)]
    assert await pending == b"results"
    assert world.journal.told[1:] == [(key(Proc.REMOVE), b"results")]


@pytest.mark.parametrize("how", list(Createmode3))
async def test_a_create_that_may_wait_for_a_truncation_is_never_claimed_unanswered(how: Createmode3) -> None:
    """UNCHECKED: a repetition cuts the file off again. One that must be new waits for its flush as the others do."""
    world, arguments = World(), create(how, b"name")
    call = (7, 100003, 3, int(Proc.CREATE))
    pending = world.guard(lambda *_: waiting(), Peer(), call, ANONYMOUS, arguments, 0, len(arguments))
    claimed = replay_key(Peer.host, ANONYMOUS.uid, 7, 100003, 3, int(Proc.CREATE), arguments, 0, len(arguments))
    assert world.journal.told == ([] if how is Createmode3.UNCHECKED else [(claimed, None)])
    assert isinstance(pending, Awaitable)
    await pending


# ---- a repetition that comes while the first is being worked on ----


async def test_it_gets_the_same_results_and_so_do_a_few_more_and_then_no_more() -> None:
    """On its own connection: the one that the first came on may be gone, and nobody hears that answer."""
    world = World()
    gate: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    first = world.call(Proc.REMOVE, gate)
    repetitions = [world.call(Proc.REMOVE) for _ in range(REPLAY_REPETITIONS_MAX)]
    assert world.call(Proc.REMOVE) is None
    repetitions[0].cancel()  # its connection has ended, too
    gate.set_result(b"results")
    assert await first == b"results"
    assert [await each for each in repetitions[1:]] == [b"results"] * (REPLAY_REPETITIONS_MAX - 1)
    assert world.call(Proc.REMOVE) == b"results"
    assert world.calls == 1


async def test_a_call_that_ends_without_results_leaves_its_repetitions_without_them() -> None:
    world = World()
    gate: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    first = world.call(Proc.REMOVE, gate)
    again = world.call(Proc.REMOVE)
    gate.set_exception(RuntimeError("our own mistake"))
    with pytest.raises(RuntimeError):
        await first
    assert await again is None
    assert world.call(Proc.REMOVE) == b"results"  # which was not done, as far as anybody knows


# ---- the call that a process was working on at its end ----


def failed(proc: Proc) -> bytes:
    """As a call fails that is done twice."""
    again = Nfsstat3.NFS3ERR_NOENT if proc in (Proc.REMOVE, Proc.RMDIR, Proc.RENAME) else Nfsstat3.NFS3ERR_EXIST
    return encode_failure(proc, again)


@pytest.mark.parametrize("proc", WAITING)
async def test_what_may_have_been_done_is_done_again_and_a_failure_of_the_second_time_is_success(proc: Proc) -> None:
    world = World(Kept(key(proc), None, 5.0, executed=False))
    body = await world.call(proc, failed(proc))
    assert unpack_result(proc, body)[0] is Nfsstat3.NFS3_OK
    assert (world.calls, world.flushes) == (1, 1)
    assert world.call(proc) == body
    assert world.journal.told == [(key(proc), body)]


@pytest.mark.parametrize("results", [b"its results", encode_failure(Proc.REMOVE, Nfsstat3.NFS3ERR_ACCES)])
async def test_what_was_not_done_then_is_answered_as_it_is_done_now(results: bytes) -> None:
    world = World(Kept(key(Proc.REMOVE), None, 5.0, executed=False))
    assert await world.call(Proc.REMOVE, soon(results)) == results
    assert world.flushes == 0


@pytest.mark.parametrize("proc", WAITING)
async def test_the_same_failure_of_any_other_call_is_a_failure(proc: Proc) -> None:
    world = World(Kept(key(Proc.RMDIR if proc is Proc.REMOVE else Proc.REMOVE), None, 5.0, executed=False))
    assert world.call(proc, failed(proc)) == failed(proc)


@pytest.mark.parametrize("how", list(Createmode3))
@pytest.mark.parametrize("name", [b"n", b"name", b"a longer name"])
def test_a_create_is_intended_unless_it_may_be_done_twice(how: Createmode3, name: bytes) -> None:
    world, new = World(), create(how, name)
    arguments = bytearray(b"before" + new + b"behind")
    call = (7, 100003, 3, int(Proc.CREATE))
    world.guard(lambda *_: b"results", Peer(), call, ANONYMOUS, arguments, 6, len(arguments) - 6)
    assert (world.journal.at is None) is (how is Createmode3.UNCHECKED)


@pytest.mark.parametrize("proc", WAITING)
def test_a_call_is_intended_before_it_is_done(proc: Proc) -> None:
    world = World()
    seen: list[Key | None] = []

    def handler(*_: object) -> bytes:
        seen.append(world.journal.at)
        return b"results"

    world.guard(handler, Peer(), (7, 100003, 3, int(proc)), ANONYMOUS, ARGUMENTS, 0, len(ARGUMENTS))
    assert seen == [key(proc)]
