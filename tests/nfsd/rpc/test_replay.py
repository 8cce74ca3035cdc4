"""The duplicate request cache: what was answered is answered again, within bounds."""

from hypothesis import given
from hypothesis import strategies as some

from nfsd.limits import REPLAY_ARGUMENT_BYTES_MAX
from nfsd.rpc.replay import Key, ReplayCache, Seen, replay_key

PROG, VERS, REMOVE = 100003, 3, 12


def key(
    xid: int = 1, client: str = "10.0.0.1", arguments: bytes = b"handle name", proc: int = REMOVE, uid: int = 1000
) -> Key:
    return replay_key(client, uid, xid, PROG, VERS, proc, b".." + arguments + b"behind", 2, 2 + len(arguments))


def answered(cache: ReplayCache, key: Key, body: bytes = b"done", now: float = 0) -> None:
    assert cache.begin(key, now) is Seen.NEW
    cache.finish(key, body, now)


def test_a_retransmission_gets_the_first_answer() -> None:
    cache = ReplayCache()
    answered(cache, key(), b"first")
    assert cache.begin(key(), 1) == b"first"


def test_a_retransmission_of_a_call_in_progress_is_dropped() -> None:
    cache = ReplayCache()
    assert cache.begin(key(), 0) is Seen.NEW
    assert cache.begin(key(), 0) is Seen.IN_PROGRESS
    cache.finish(key(), b"done", 1)
    assert cache.begin(key(), 1) == b"done"


def test_a_call_that_ended_without_an_answer_is_new_again() -> None:
    cache = ReplayCache()
    assert cache.begin(key(), 0) is Seen.NEW
    cache.forget(key())
    assert cache.begin(key(), 0) is Seen.NEW


def test_calls_that_differ_in_anything_are_not_taken_for_each_other() -> None:
    cache = ReplayCache()
    answered(cache, key())
    others = [
        key(xid=2),
        key(client="10.0.0.2"),
        key(proc=13),
        key(arguments=b"handle nam2"),
        key(arguments=b"handle name and more"),
        key(uid=1001),
        key(arguments=b"x" * REPLAY_ARGUMENT_BYTES_MAX),
        key(arguments=b"x" * (REPLAY_ARGUMENT_BYTES_MAX + 1)),
    ]
    for other in others:
        answered(cache, other)


def test_an_answer_expires() -> None:
    cache = ReplayCache(seconds_max=120)
    answered(cache, key(), now=1000)
    assert cache.begin(key(), 1120) == b"done"
    size = cache.stored_bytes
    answered(cache, key(), now=1120.5)
    assert (len(cache), cache.stored_bytes) == (1, size)


def test_the_least_recently_used_answer_goes_first() -> None:
    cache = ReplayCache(entries_max=2)
    answered(cache, key(1))
    answered(cache, key(2))
    assert cache.begin(key(1), 0) == b"done"
    answered(cache, key(3))
    assert cache.begin(key(1), 0) == b"done"
    assert cache.begin(key(2), 0) is Seen.NEW


def test_calls_in_progress_are_never_thrown_out_for_new_ones() -> None:
    cache = ReplayCache(entries_max=2)
    assert [cache.begin(key(xid), 0) for xid in (1, 2, 3)] == [Seen.NEW] * 3
    cache.finish(key(3), b"unremembered", 0)
    assert cache.begin(key(1), 0) is Seen.IN_PROGRESS
    assert cache.begin(key(3), 0) is Seen.NEW


def test_an_answer_over_the_byte_limit_is_not_kept_and_costs_nothing() -> None:
    cache = ReplayCache(bytes_max=10_000)
    answered(cache, key(1), bytes(20_000))
    assert cache.stored_bytes == 0
    assert cache.begin(key(1), 0) is Seen.NEW


steps = some.lists(
    some.tuples(some.sampled_from(["begin", "finish", "forget"]), some.integers(0, 9), some.integers(0, 3000)),
    max_size=60,
)


@given(steps)
def test_bounds_hold_and_no_answer_is_another_calls(steps: list[tuple[str, int, int]]) -> None:
    cache = ReplayCache(entries_max=4, bytes_max=6000, seconds_max=20)
    latest: dict[int, bytes] = {}
    for now, (step, xid, size) in enumerate(steps):
        if step == "begin":
            found = cache.begin(key(xid), now)
            assert isinstance(found, Seen) or found == latest[xid]
        elif step == "finish" and cache.begin(key(xid), now) is not Seen.NEW:
            body = bytes([xid]) + bytes(size)
            before = len(cache)
            cache.finish(key(xid), body, now)
            if cache.begin(key(xid), now) == body:
                latest[xid] = body
            assert len(cache) <= before + 1
        else:
            cache.forget(key(xid))
        assert len(cache) <= 4
        assert 0 <= cache.stored_bytes <= 6000
