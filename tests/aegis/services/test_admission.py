"""Who runs next: first come first served within a tenant, turn by turn between tenants, never more than may."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as some

from aegis.errors import Overloaded
from aegis.services.admission import Admission, Limits, Place


def granted(places: list[Place]) -> list[int]:
    return [number for number, place in enumerate(places) if place.granted.done()]


async def test_as_many_run_as_may_and_the_first_who_came_goes_first() -> None:
    admission = Admission(Limits(concurrent=2))
    places = [admission.ask("a") for _ in range(5)]
    assert granted(places) == [0, 1]
    assert [admission.ahead_of(place) for place in places] == [0, 0, 0, 1, 2]
    admission.leave(places[1])
    assert granted(places) == [0, 1, 2]
    admission.leave(places[0])
    assert granted(places) == [0, 1, 2, 3]


async def test_who_had_a_place_has_it_again_beyond_the_limit_and_others_wait_until_there_is_room() -> None:
    admission = Admission(Limits(concurrent=1))
    seated = [admission.seat("a") for _ in range(2)]
    waits = admission.ask("a")
    assert granted([*seated, waits]) == [0, 1]
    admission.leave(seated[0])
    assert not waits.granted.done()
    admission.leave(seated[1])
    assert waits.granted.done()


async def test_a_tenant_that_asks_for_many_delays_another_by_one_turn() -> None:
    admission = Admission(Limits(concurrent=1))
    many = [admission.ask("many") for _ in range(100)]
    one = admission.ask("one")
    assert admission.ahead_of(one) == 1
    admission.leave(many[0])  # the turn that was the first tenant's already
    admission.leave(many[1])
    assert one.granted.done()
    assert len(granted(many)) == 2


async def test_tenants_take_turns() -> None:
    admission = Admission(Limits(concurrent=1))
    first = admission.ask("z")
    places = {tenant: [admission.ask(tenant) for _ in range(3)] for tenant in "abc"}
    order, running = [], first
    while True:
        admission.leave(running)
        following = [(t, p) for t, each in places.items() for p in each if p.granted.done() and (t, id(p)) not in order]
        if not following:
            break
        [(tenant, running)] = following
        order.append((tenant, id(running)))
    assert [tenant for tenant, _ in order] == list("abcabcabc")


async def test_a_tenants_own_limit_leaves_places_to_the_others() -> None:
    admission = Admission(Limits(concurrent=3, concurrent_per_tenant=2))
    many = [admission.ask("many") for _ in range(4)]
    assert granted(many) == [0, 1]
    other = admission.ask("other")
    assert other.granted.done()
    admission.leave(other)
    assert granted(many) == [0, 1]
    admission.leave(many[0])
    assert granted(many) == [0, 1, 2]


async def waits_and_leaves(admission: Admission, place: Place) -> None:
    try:
        await place.turn()
        raise AssertionError("its turn never came")
    finally:
        admission.leave(place)


async def test_who_is_cancelled_while_it_waits_leaves_the_queue() -> None:
    admission = Admission(Limits(concurrent=1))
    running = admission.ask("a")
    task = asyncio.create_task(waits_and_leaves(admission, admission.ask("a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (admission.running, admission.waiting) == (1, 0)
    admission.leave(running)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_place_granted_to_somebody_just_cancelled_goes_to_the_next() -> None:
    admission = Admission(Limits(concurrent=1))
    running, second, third = (admission.ask("a") for _ in range(3))
    task = asyncio.create_task(waits_and_leaves(admission, second))
    await asyncio.sleep(0)
    task.cancel()
    admission.leave(running)  # granted, before the task has heard of its end
    assert second.granted.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert third.granted.done()


async def test_over_the_nodes_limit_and_over_a_tenants_the_refusal_says_which() -> None:
    admission = Admission(Limits(concurrent=2, waiting=2, concurrent_per_tenant=1, waiting_per_tenant=1))
    for _ in range(2):
        admission.check("a")
        admission.ask("a")
    with pytest.raises(Overloaded, match="of the tenant a run and 1 wait; 1 of one tenant may run and 1 wait"):
        admission.check("a")
    for tenant in "bc":
        admission.check(tenant)
        admission.ask(tenant)
    with pytest.raises(Overloaded, match="2 executions run and 2 wait; 2 may run and 2 wait"):
        admission.check("d")


steps = some.lists(some.tuples(some.sampled_from("abc"), some.integers(0, 9)), max_size=80)


@given(steps, some.integers(1, 4), some.none() | some.integers(1, 3))
def test_limits_hold_and_nobody_is_forgotten(steps: list[tuple[str, int]], concurrent: int, own: int | None) -> None:
    async def play() -> None:
        admission = Admission(Limits(concurrent=concurrent, concurrent_per_tenant=own))
        alive: list[Place] = []
        for tenant, choice in steps:
            if choice < 5 or not alive:
                alive.append(admission.ask(tenant))
            else:
                admission.leave(alive.pop(choice % len(alive)))
            running = [place for place in alive if place.granted.done()]
            assert admission.running == len(running) <= concurrent
            assert admission.waiting == len(alive) - len(running)
            most = concurrent if own is None else own
            for each in "abc":
                of_tenant = [place for place in alive if place.tenant_id == each]
                runs = [place for place in of_tenant if place.granted.done()]
                assert len(runs) <= most
                idle = len(runs) < len(of_tenant) and len(runs) < most
                assert not idle or len(running) == concurrent, "somebody waits although there is room"
        for place in alive:
            admission.leave(place)
        assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(play())
