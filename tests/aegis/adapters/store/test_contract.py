"""The `Store` port's contract, on both engines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from aegis.adapters.store import SqlStore, open_store
from aegis.domain.events import Event
from aegis.domain.execution import Execution, ExecutionEvent, ExecutionState
from aegis.domain.iteration import IterationEvent
from aegis.domain.manifest import AccessMode, ExecutionPlan, JsonSchemaValidator, VolumeSpec
from aegis.domain.validation import Judgement, Opinion, Verdict
from aegis.domain.volume import VolumeEvent, VolumeState
from aegis.errors import Conflict, NotFound, VolumeAlreadyMounted
from aegis.ids import DEFAULT_TENANT
from aegis.ports import ModelUsage, Store
from tests.support import samples
from tests.support.samples import NOON


async def stored_execution(store: Store, **changes: object) -> Execution:
    execution = samples.execution(**changes)
    await store.add_execution(execution, [samples.event("execution.created", execution.id)])
    return execution


# ---- agents ----


async def test_agent_is_found_by_name_and_by_id_of_its_tenant_only(any_store: Store) -> None:
    agent = samples.agent(
        volumes=(VolumeSpec(name="w", mount_path="/workspace"),),
        execution=ExecutionPlan(validators=(JsonSchemaValidator(json_schema={"type": "object"}),)),
    )
    await any_store.add_agent(agent)
    assert await any_store.get_agent(DEFAULT_TENANT, "coder") == agent
    assert await any_store.get_agent(DEFAULT_TENANT, agent.id) == agent
    with pytest.raises(NotFound):
        await any_store.get_agent("other", "coder")


async def test_the_latest_deployment_of_a_name_wins_and_the_older_stays_reachable_by_id(any_store: Store) -> None:
    first, second = samples.agent(), samples.agent(description="better")
    other = samples.agent("tester", seconds=1)
    for agent in (first, second, other):
        await any_store.add_agent(agent)
    assert await any_store.get_agent(DEFAULT_TENANT, "coder") == second
    assert await any_store.get_agent(DEFAULT_TENANT, first.id) == first
    assert await any_store.list_agents(DEFAULT_TENANT) == [other, second]


async def test_removing_an_agent_removes_every_deployment_of_its_name(any_store: Store) -> None:
    await any_store.add_agent(samples.agent())
    await any_store.add_agent(samples.agent())
    await any_store.remove_agent(DEFAULT_TENANT, "coder")
    assert await any_store.list_agents(DEFAULT_TENANT) == []
    with pytest.raises(NotFound):
        await any_store.remove_agent(DEFAULT_TENANT, "coder")


# ---- executions and iterations ----


async def test_execution_comes_back_as_it_was_stored_with_its_first_event(any_store: Store) -> None:
    execution = await stored_execution(any_store)
    assert await any_store.get_execution(execution.id) == execution
    assert [event.kind for event in await any_store.list_events(execution.id)] == ["execution.created"]


async def test_of_two_writers_that_expect_the_same_state_one_gets_conflict_and_adds_no_event(any_store: Store) -> None:
    execution = await stored_execution(any_store)
    started = execution.after(ExecutionEvent.START, NOON)
    cancelled = execution.after(ExecutionEvent.CANCEL, NOON)
    results = await asyncio.gather(
        *(
            any_store.update_execution(
                change, expect=ExecutionState.PENDING, events=[samples.event(f"execution.{change.state}", execution.id)]
            )
            for change in (started, cancelled)
        ),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]
    stored = await any_store.get_execution(execution.id)
    kinds = [event.kind for event in await any_store.list_events(execution.id)]
    assert kinds == ["execution.created", f"execution.{stored.state}"]


async def test_unknown_execution_is_not_found_whatever_is_asked(any_store: Store) -> None:
    execution = samples.execution()
    with pytest.raises(NotFound):
        await any_store.get_execution(execution.id)
    with pytest.raises(NotFound):
        await any_store.update_execution(execution, expect=ExecutionState.PENDING)
    with pytest.raises(NotFound):
        await any_store.append_events([samples.event("tool.called", execution.id)])
    with pytest.raises(NotFound):
        await any_store.update_iteration(samples.iteration(execution.id))
    with pytest.raises(Conflict):
        await any_store.add_iteration(samples.iteration(execution.id))


async def test_executions_are_listed_newest_first_by_state_tenant_and_limit(any_store: Store) -> None:
    old = await stored_execution(any_store, seconds=1)
    new = await stored_execution(any_store, seconds=2)
    foreign = await stored_execution(any_store, seconds=3, tenant_id="other")
    await any_store.update_execution(old.after(ExecutionEvent.START, NOON), expect=ExecutionState.PENDING)
    ids = [execution.id for execution in await any_store.list_executions(DEFAULT_TENANT)]
    assert ids == [new.id, old.id]
    assert [each.id for each in await any_store.list_executions(states=[ExecutionState.RUNNING])] == [old.id]
    assert [each.id for each in await any_store.list_executions(limit=1)] == [foreign.id]


async def test_iterations_keep_their_verdict_and_come_in_order(any_store: Store) -> None:
    execution = await stored_execution(any_store)
    second, first = samples.iteration(execution.id, 2), samples.iteration(execution.id, 1)
    await any_store.add_iteration(second)
    await any_store.add_iteration(first)
    opinions = (Opinion("ada", 0.25, 0.5, "no", 2.0), Opinion("bob", 1.0, 0.5, "yes"))
    judged = Judgement("multi_judge[1]", 0.25, 0.5, False, "no", opinions)
    verdict = Verdict((Judgement("exit_code[0]", 1.0, 1.0, True), judged))
    ended = first.after(
        IterationEvent.REFINE, NOON, verdict=verdict, exit_code=-1, final="x\0y\ud800z", tool_calls=3, feedback="again"
    )
    await any_store.update_iteration(ended)
    assert await any_store.list_iterations(execution.id) == [replace(ended, final="x\ufffdy\ufffdz"), second]


async def test_inner_loop_state_is_replaced_whole_and_keeps_every_character(any_store: Store) -> None:
    execution = await stored_execution(any_store)
    assert await any_store.load_inner_loop(execution.id, 1) is None
    await any_store.save_inner_loop(execution.id, 1, {"a": 1})
    state = {"rounds": 3, "conversation": [{"content": "nul \0, lone \ud800, snowman \u2603"}], "pending": None}
    await any_store.save_inner_loop(execution.id, 1, state)
    assert await any_store.load_inner_loop(execution.id, 1) == state
    assert await any_store.load_inner_loop(execution.id, 2) is None


async def test_inner_loop_state_and_what_led_to_it_are_stored_together_or_not_at_all(any_store: Store) -> None:
    execution = await stored_execution(any_store)
    await any_store.save_inner_loop(execution.id, 1, {"a": 1}, [Event("model.called", NOON, execution.id, 1)])
    assert [event.kind for event in await any_store.list_events(execution.id)][-1:] == ["model.called"]
    with pytest.raises(NotFound):
        await any_store.save_inner_loop(execution.id, 1, {"a": 2}, [Event("model.called", NOON, "nobody", 1)])
    assert await any_store.load_inner_loop(execution.id, 1) == {"a": 1}


async def test_unfinished_executions_are_those_of_the_node_and_of_none_oldest_first(any_store: Store) -> None:
    made = {
        "waits": samples.execution(seconds=3, node_id="n-1"),
        "runs": samples.execution(seconds=1, node_id="n-1", state=ExecutionState.RUNNING),
        "nobody's": samples.execution(seconds=2),
        "another's": samples.execution(node_id="n-2"),
        "ended": samples.execution(node_id="n-1", state=ExecutionState.CANCELLED),
    }
    for execution in made.values():
        await any_store.add_execution(execution)
    found = await any_store.list_unfinished("n-1")
    assert found == [made["runs"], made["nobody's"], made["waits"]]


# ---- events ----


async def test_event_numbers_rise_by_one_per_execution_whoever_writes_at_once(any_store: Store) -> None:
    one, two = await stored_execution(any_store), await stored_execution(any_store)
    batches = [
        [samples.event("tool.called", owner.id, n=n), samples.event("tool.completed", owner.id, n=n)]
        for n in range(10)
        for owner in (one, two)
    ]
    await asyncio.gather(*(any_store.append_events(batch) for batch in batches))
    for execution in (one, two):
        events = await any_store.list_events(execution.id)
        assert [event.sequence for event in events] == list(range(1, 22))
        calls = [event.data["n"] for event in events if event.kind == "tool.called"]
        done = [event.data["n"] for event in events if event.kind == "tool.completed"]
        assert calls == done, "a batch stays together"


async def test_events_are_read_on_from_where_a_reader_stopped(any_store: Store) -> None:
    execution = await stored_execution(any_store)
    await any_store.append_events([samples.event("file.written", execution.id, path=f"{n}\0\ud800") for n in range(5)])
    events = await any_store.list_events(execution.id, after=3, limit=2)
    assert [event.sequence for event in events] == [4, 5]
    assert events[0].data == {"path": "2\0\ud800"}
    assert events[0].at == NOON


async def test_events_without_an_execution_have_a_stream_of_their_own(any_store: Store) -> None:
    await any_store.append_events([samples.event("mount.refused", address="10.0.0.1")])
    [event] = await any_store.list_events("")
    assert (event.execution_id, event.sequence, event.data) == (None, 1, {"address": "10.0.0.1"})


# ---- volumes and attachments ----


async def test_volume_comes_back_as_it_was_stored_for_its_tenant_only(any_store: Store) -> None:
    volume = samples.volume(expires_at=NOON + timedelta(hours=1))
    await any_store.add_volume(volume)
    assert await any_store.get_volume(DEFAULT_TENANT, volume.id) == volume
    assert await any_store.list_volumes(states=[VolumeState.AVAILABLE]) == [volume]
    assert await any_store.list_volumes("other") == []
    owned = samples.volume(owner_execution_id="e1", state=VolumeState.CREATING)
    await any_store.add_volume(owned)
    assert await any_store.list_volumes(owner_execution_id="e1") == [owned]
    with pytest.raises(NotFound):
        await any_store.get_volume("other", volume.id)


async def test_second_writer_is_refused_and_told_who_holds_the_volume(any_store: Store) -> None:
    volume = samples.volume()
    await any_store.add_volume(volume)
    writer = samples.attachment(volume)
    await any_store.add_attachment(writer)
    with pytest.raises(VolumeAlreadyMounted, match=writer.execution_id):
        await any_store.add_attachment(samples.attachment(volume))
    assert await any_store.list_attachments(volume_id=volume.id) == [writer]


async def test_of_many_writers_at_once_exactly_one_is_attached(any_store: Store) -> None:
    volume = samples.volume()
    await any_store.add_volume(volume)
    attempts = [any_store.add_attachment(samples.attachment(volume)) for _ in range(8)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(result) for result in results].count(VolumeAlreadyMounted) == 7
    assert results.count(None) == 1
    assert len(await any_store.list_attachments(volume_id=volume.id)) == 1


async def test_the_database_itself_refuses_a_second_writer(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check before the insert only words the refusal: without it the index still decides."""
    from aegis.adapters.store import volumes

    volume = samples.volume()
    await store.add_volume(volume)
    await store.add_attachment(samples.attachment(volume))

    async def unchecked(*_: object) -> None:
        return None

    monkeypatch.setattr(volumes, "_refuse_second_writer", unchecked)
    with pytest.raises(Conflict):
        await store.add_attachment(samples.attachment(volume))
    assert len(await store.list_attachments(volume_id=volume.id)) == 1


async def test_readers_share_a_volume_with_its_writer(any_store: Store) -> None:
    volume = samples.volume()
    await any_store.add_volume(volume)
    await any_store.add_attachment(samples.attachment(volume))
    for _ in range(3):
        await any_store.add_attachment(samples.attachment(volume, access_mode=AccessMode.READ_ONLY))
    assert len(await any_store.list_attachments(volume_id=volume.id)) == 4


async def test_volume_is_detached_with_its_last_attachment_and_can_be_written_again(any_store: Store) -> None:
    volume = samples.volume()
    await any_store.add_volume(volume)
    writer, reader = samples.attachment(volume), samples.attachment(volume, access_mode=AccessMode.READ_ONLY)
    await any_store.add_attachment(writer)
    await any_store.add_attachment(reader)
    await any_store.end_attachment(writer.id, NOON)
    assert (await any_store.get_volume(DEFAULT_TENANT, volume.id)).state is VolumeState.ATTACHED
    await any_store.end_attachment(reader.id, NOON)
    await any_store.end_attachment(reader.id, NOON + timedelta(hours=1))
    assert (await any_store.get_volume(DEFAULT_TENANT, volume.id)).state is VolumeState.DETACHED
    ended = await any_store.list_attachments(volume_id=volume.id, live_only=False)
    assert {each.detached_at for each in ended} == {NOON}
    await any_store.add_attachment(samples.attachment(volume))


async def test_a_volume_being_deleted_cannot_be_attached_nor_an_attached_one_deleted(any_store: Store) -> None:
    volume = samples.volume()
    await any_store.add_volume(volume)
    await any_store.add_attachment(samples.attachment(volume))
    with pytest.raises(Conflict, match="is attached, not available"):
        await any_store.update_volume(volume.after(VolumeEvent.DELETE), expect=VolumeState.AVAILABLE)
    other = samples.volume(state=VolumeState.DELETING)
    await any_store.add_volume(other)
    with pytest.raises(Conflict, match="is deleting and cannot be attached"):
        await any_store.add_attachment(samples.attachment(other))


async def test_of_an_attach_and_a_delete_at_once_only_one_succeeds(any_store: Store) -> None:
    for turn in range(20):
        volume = samples.volume()
        await any_store.add_volume(volume)
        both = [
            any_store.add_attachment(samples.attachment(volume, access_mode=AccessMode.READ_ONLY)),
            any_store.update_volume(volume.after(VolumeEvent.DELETE), expect=VolumeState.AVAILABLE),
        ]
        results = await asyncio.gather(*(both if turn % 2 else reversed(both)), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]
        attached = bool(await any_store.list_attachments(volume_id=volume.id))
        wanted = VolumeState.ATTACHED if attached else VolumeState.DELETING
        assert (await any_store.get_volume(DEFAULT_TENANT, volume.id)).state is wanted


# ---- what models were used for ----


async def test_usage_is_summed_by_iteration_and_alias_and_read_in_their_order(any_store: Store) -> None:
    execution, other = await stored_execution(any_store), await stored_execution(any_store)
    for usage in (
        ModelUsage(2, "default", 1, 100, 10, 0.5),
        ModelUsage(1, "default", 1, 1, 2),
        ModelUsage(2, "default", 1, 2**40, 20, 0.25),
        ModelUsage(2, "default", 1, 5, 5),
        ModelUsage(2, "a", 1, 7, 7),
    ):
        await any_store.add_usage(execution.id, usage)
    assert await any_store.list_usage(execution.id) == [
        ModelUsage(1, "default", 1, 1, 2),
        ModelUsage(2, "a", 1, 7, 7),
        ModelUsage(2, "default", 3, 2**40 + 105, 35, 0.75),
    ]
    assert await any_store.list_usage(other.id) == []


async def test_answers_that_come_at_once_are_all_counted(any_store: Store) -> None:
    execution = await stored_execution(any_store)
    await asyncio.gather(*(any_store.add_usage(execution.id, ModelUsage(1, "a", 1, 10, 1, 0.5)) for _ in range(10)))
    assert await any_store.list_usage(execution.id) == [ModelUsage(1, "a", 10, 100, 10, 5.0)]


# ---- the whole ----


async def test_everything_is_there_for_the_next_daemon(url: str) -> None:
    first = await open_store(url)
    execution = await stored_execution(first)
    await first.close()
    second = await open_store(url)
    assert await second.get_execution(execution.id) == execution
    await second.ping()
    await second.close()


async def test_daemons_that_start_at_once_migrate_once(url: str) -> None:
    stores = await asyncio.gather(*(open_store(url) for _ in range(3)))
    assert [await store.list_events("") for store in stores] == [[], [], []]
    for store in stores:
        await store.close()


async def test_cancelled_calls_leave_the_store_usable_and_no_half_transaction(store: SqlStore) -> None:
    execution = await stored_execution(store)
    for turns in range(40):
        call = asyncio.ensure_future(
            store.append_events([samples.event("a", execution.id, n=turns), samples.event("b", execution.id, n=turns)])
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    events = await store.list_events(execution.id, after=1)
    assert [event.sequence for event in events] == list(range(2, 2 + len(events)))
    assert [event.kind for event in events] == ["a", "b"] * (len(events) // 2)
