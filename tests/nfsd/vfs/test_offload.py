"""The pool: one set of threads for all volumes, a bound for each, nothing left behind."""

from __future__ import annotations

import errno
import threading

import pytest

from nfsd.vfs.offload import THREADS, Pool


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("nfsd-offload")]


async def test_all_volumes_share_the_threads_and_the_last_ends_them() -> None:
    pools = [Pool() for _ in range(5)]
    gate = threading.Event()
    waiting = [pool.run(gate.wait) for pool in pools for _ in range(THREADS)]
    assert len(_threads()) == THREADS
    gate.set()
    for call in waiting:
        assert await call
    for pool in pools[1:]:
        await pool.close()
    assert await pools[0].run(lambda: 1) == 1, "others were closed, this one was not"
    await pools[0].close()
    assert not _threads()


async def test_a_pool_opened_after_the_last_was_closed_has_threads_again() -> None:
    for _ in range(2):
        pool = Pool()
        assert await pool.run(threading.get_ident) != threading.get_ident()
        await pool.close()
        await pool.close()
    assert not _threads()


async def test_a_pool_nobody_used_starts_no_thread() -> None:
    pool = Pool()
    assert not _threads()
    await pool.close()


async def test_the_bound_is_each_volumes_own() -> None:
    full, other = Pool(pending_max=1), Pool(pending_max=1)
    gate = threading.Event()
    waiting = full.run(gate.wait)
    with pytest.raises(OSError) as refused:
        full.run(gate.wait)
    assert refused.value.errno == errno.EAGAIN
    assert await other.run(lambda: 1) == 1
    gate.set()
    assert await waiting
    await full.close()
    await other.close()
    with pytest.raises(OSError):
        full.run(gate.wait)
