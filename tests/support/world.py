"""All services on fakes: one daemon's worth, which can die at any call and be followed by another.

The store, the engine and the gateway's storage outlive a daemon; its services, sessions and exports do not.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aegis.domain.execution import Agent, Execution
from aegis.domain.manifest import AgentManifest, ExecutionPlan, PullPolicy, Resources, Runtime, VolumeSpec
from aegis.errors import AegisError, Conflict, HostUnreachable, NotFound, WorldError
from aegis.ids import DEFAULT_TENANT, new_id
from aegis.services.admission import Limits
from aegis.services.agent_secrets import AgentSecrets, concealing
from aegis.services.cmd_tool import CMD_RUN
from aegis.services.containers import ContainerMaker, Containers, ContainerSettings, Image, Place
from aegis.services.dispatch_tokens import dispatch_tokens
from aegis.services.egress import EgressGate, EgressSettings
from aegis.services.egress.session import Rules
from aegis.services.executions import ExecutionRunner
from aegis.services.fs_tools import fs_tools
from aegis.services.inner_loop import InnerLoop
from aegis.services.iterations import IterationRunner
from aegis.services.judging import Panel
from aegis.services.judging.agents import JudgeAgents
from aegis.services.judging.jobs import Jobs
from aegis.services.judging.judges import Judges
from aegis.services.model_calls import ModelCalls
from aegis.services.policy import ToolPolicy
from aegis.services.prefetch import Prefetcher
from aegis.services.reconciler import Reconciler
from aegis.services.recorder import EventRecorder
from aegis.services.resuming import Leftovers
from aegis.services.supervisor import ExecutionSupervisor
from aegis.services.tools import Tool, ToolBox
from aegis.services.volumes import VolumeService
from tests.support.clock import FakeClock, settle
from tests.support.fakes_gateway import FakeGateway
from tests.support.fakes_model import FakeModel, FakeModels
from tests.support.fakes_runtime import FakeContainer, FakeRuntime
from tests.support.memory_store import MemoryStore

WORKSPACE = VolumeSpec(name="workspace", mount_path="/workspace")
NODE = "node-1"


class Died(BaseException):
    """The daemon was killed: nothing of it may go on, and no `except Exception` may notice."""


class Life:
    """Counts a daemon's calls to the outside. It dies at call number `dies_at` (from 0): before the work, or with
    `after` when the work is done and the reply on its way."""

    def __init__(self, dies_at: int | None = None, *, after: bool = False) -> None:
        self.calls = 0
        self.death = asyncio.Event()
        self._dies_at = dies_at
        self._after = after

    @property
    def dead(self) -> bool:
        return self.death.is_set()

    def end(self) -> None:
        self.death.set()

    def die_in(self, calls: int, *, after: bool) -> None:
        """From now on: at the call after so many others."""
        self._dies_at, self._after = self.calls + calls, after

    async def live_through(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if self.dead:
            raise Died
        now = self.calls == self._dies_at
        self.calls += 1
        if now and not self._after:
            self.end()
            raise Died
        try:
            return await work()
        finally:
            if now or self.dead:  # also when it was about to be told to stop waiting
                self.end()
                raise Died


class Mortal:
    """A port as one daemon sees it: gone with the daemon."""

    def __init__(self, target: Any, life: Life) -> None:
        self._target = target
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if inspect.iscoroutinefunction(found):
            return lambda *args, **kwargs: self._life.live_through(lambda: found(*args, **kwargs))
        if self._life.dead:
            raise Died
        return found


def egress_gate(clock: FakeClock) -> EgressGate:
    """For containers that go nowhere."""

    async def resolve(host: str) -> list[str]:
        raise HostUnreachable(f"{host}: there is no world")

    async def drained() -> None:
        pass

    rules = Rules(resolve=resolve, is_own=lambda _: False)
    return EgressGate(EgressSettings(rules=rules, secret=b"secret", put=lambda _: None, drained=drained), clock)


class Daemon:
    """One life of the services."""

    def __init__(self, world: World, life: Life, **limits: int) -> None:
        self.life = life
        self.followed = asyncio.Event()  # there is another one in its place
        self.served_tools: list[Tool] = []  # of tool servers
        clock = world.clock
        mortal, runtime, gateway = (Mortal(each, life) for each in (world.store, world.runtime, world.gateway))
        secrets = world.secrets or AgentSecrets()
        store = concealing(mortal, secrets)  # type: ignore[arg-type]
        models = FakeModels(world.model)
        self.events = EventRecorder(store)
        self.volumes = VolumeService(store, gateway, self.events, clock)
        jobs = Jobs()
        maker = ContainerMaker(
            ContainerSettings(
                node_id=NODE,
                place=lambda _: Place("aegis", "http://172.30.0.1:8080", "172.30.0.1:3128"),
                nfs_host="172.17.0.1",
                nfs_port=2049,
                mount_options=lambda profile: f"addr=172.17.0.1,{profile or 'robust'}",
                image_of=lambda runtime: Image(runtime.image or f"{runtime.language}:{runtime.version}"),
                default_pull_policy=PullPolicy.IF_NOT_PRESENT,
                bootstrap={"/aegis/bootstrap": b"bootstrap"},
                bootstrap_command=lambda architecture: ("/aegis/bootstrap", architecture),
            )
        )
        policy = ToolPolicy()
        calls = ModelCalls(store=store, models=models, clock=clock, secrets=secrets)
        self.egress = egress_gate(clock)
        self.inner_loop = InnerLoop(
            secrets=secrets,
            store=store,
            models=calls,
            tools=ToolBox([CMD_RUN, *fs_tools(jobs)], policy, [lambda: self.served_tools]),
            gateway=gateway,
            events=self.events,
            clock=clock,
            remarks=self.egress.refusals,
        )
        self.containers = Containers(runtime, clock)
        judge_agents = JudgeAgents(store)
        judges = Judges(models=calls, agents=judge_agents, clock=clock)
        iterations = IterationRunner(
            secrets=secrets,
            store=store,
            runtime=runtime,
            containers=self.containers,
            maker=maker,
            inner_loop=self.inner_loop,
            panel=Panel(jobs, judges),
            gateway=gateway,
            egress=self.egress,
            clock=clock,
        )
        runner = ExecutionRunner(
            store=store,
            runtime=runtime,
            maker=maker,
            volumes=self.volumes,
            iterations=iterations,
            leftovers=Leftovers(runtime, NODE),
            events=self.events,
            clock=clock,
        )
        self.supervisor = ExecutionSupervisor(
            agent_secrets=secrets,
            store=store,
            runner=runner,
            maker=maker,
            models=models,
            policy=policy,
            events=self.events,
            clock=clock,
            prefetcher=Prefetcher(runtime),
            node_id=NODE,
            token_of=dispatch_tokens(b"secret"),
            limits=Limits(**{"concurrent": 4, "waiting": 100, **limits}),
        )
        judge_agents.supervisor = self.supervisor
        self.reconciler = Reconciler(
            store=store,
            runtime=runtime,
            volumes=self.volumes,
            supervisor=self.supervisor,
            events=self.events,
            clock=clock,
            node_id=NODE,
        )


@dataclass
class World:
    clock: FakeClock
    store: MemoryStore
    gateway: FakeGateway
    runtime: FakeRuntime
    model: FakeModel
    daemon: Daemon
    secrets: AgentSecrets | None = None  # of every daemon's

    @classmethod
    def make(cls, model: FakeModel, *, secrets: AgentSecrets | None = None, **limits: int) -> World:
        asyncio.get_running_loop().set_exception_handler(_unless_died)
        gateway = FakeGateway()
        world = cls.__new__(cls)
        world.secrets = secrets
        world.clock, world.store, world.gateway, world.model = FakeClock(), MemoryStore(), gateway, model
        world.runtime = FakeRuntime(gateway, agent=world.bootstrap, validator=world.validator, now=world.clock.now)
        world.daemon = Daemon(world, Life(), **limits)
        return world

    # ---- what runs in containers ----

    async def bootstrap(self, container: FakeContainer) -> int:
        """The agent's side of the dispatch protocol, as `bootstrap.py` plays it, without the HTTP between."""
        environment = container.spec.environment
        execution_id, iteration = environment["AEGIS_EXECUTION_ID"], int(environment["AEGIS_ITERATION"])
        try:
            execution = await self.store.get_execution(execution_id)
            task = await self._ask(lambda loop: loop.task(execution, iteration))
            answer = await self._ask(lambda loop: loop.generate(execution_id, {**task, "type": "generate"}))
            while answer["type"] == "dispatch":
                if answer["command"] == "visit":
                    code, stdout = await self.visit(execution_id, *answer["args"])
                else:
                    code, stdout = await run_command(container, [answer["command"], *answer["args"]])
                result = {
                    "dispatch_id": answer["dispatch_id"],
                    "exit_code": code,
                    "stdout": stdout,
                    "stderr": "",
                    "duration_ms": 1,
                    "truncated": False,
                }
                answer = await self._ask(
                    lambda loop, result=result: loop.dispatch_result(execution_id, result)  # type: ignore[misc]
                )
        except Conflict as error:
            container.output.append(f"gave up: {error}".encode())
            return 1
        return 0

    async def _ask(self, request: Callable[[InnerLoop], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Until there is an answer. A dead daemon gives none, whatever it was doing, and the next one is asked."""
        while True:
            daemon = self.daemon
            asked = asyncio.ensure_future(request(daemon.inner_loop))
            died = asyncio.ensure_future(daemon.life.death.wait())
            try:
                await asyncio.wait({asked, died}, return_when=asyncio.FIRST_COMPLETED)
                if not daemon.life.dead:
                    return asked.result()
            except WorldError as error:
                if not error.retryable:
                    raise
                await self.clock.sleep(1)
                continue
            finally:
                for future in (asked, died):
                    future.cancel()
                await asyncio.gather(asked, died, return_exceptions=True)
            await daemon.followed.wait()

    async def visit(self, execution_id: str, host: str) -> tuple[int, str]:
        """A program that goes through the proxy and shows nothing of what that said."""
        try:
            (await self.daemon.egress.of(execution_id).admit(host, 443)).close()
        except AegisError:
            return 1, ""
        return 0, ""

    async def validator(self, container: FakeContainer) -> int:
        code, output = await run_command(container, list(container.spec.command))
        container.output.append(output.encode())
        return code

    # ---- what tests do ----

    def agent(self, *, volumes: tuple[VolumeSpec, ...] = (WORKSPACE,), **changes: Any) -> Agent:
        plan = changes.pop("plan", ExecutionPlan(max_iterations=3))
        manifest = AgentManifest(
            name=changes.pop("name", "coder"),
            instruction="Write hello into /workspace/out.txt",
            runtime=changes.pop("runtime", Runtime(image="python:3.11-slim")),
            volumes=volumes,
            execution=plan,
            resources=changes.pop("resources", Resources(timeout_seconds=300)),
            **changes,
        )
        return Agent(new_id(), DEFAULT_TENANT, manifest, self.clock.now())

    async def start(self, agent: Agent | None = None, input: str = "do it") -> Execution:
        return await self.daemon.supervisor.start(agent or self.agent(), input, DEFAULT_TENANT)

    async def finish(self, execution: Execution) -> Execution:
        """Let it run to its end; time passes only when nothing else can happen."""
        await self.until(lambda: not self.daemon.supervisor.is_running(execution.id))
        return await self.store.get_execution(execution.id)

    async def run(self, agent: Agent | None = None) -> Execution:
        return await self.finish(await self.start(agent))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Small steps of time until it holds. Fails when it does not within two hours of the fake clock."""
        for _ in range(7200):
            await settle(20)
            if condition():
                return
            if self._waits_for_processes():
                await asyncio.sleep(0.005)  # a validator's process is real: give it real time
                continue
            await self.clock.advance(1.0)
        raise AssertionError("it never happened")

    def _waits_for_processes(self) -> bool:
        return any("judging/jobs.py" in str(task.get_stack()) for task in asyncio.all_tasks())

    async def kinds(self, execution: Execution) -> list[str]:
        return [event.kind for event in await self.store.list_events(execution.id)]

    def files(self) -> dict[str, bytes | None]:
        """Of the only volume there is."""
        [files] = self.gateway.storage.values()
        return files

    def restart(self, life: Life | None = None, **limits: int) -> Daemon:
        """Another daemon in the place of one that is gone: nothing is exported by it yet."""
        before = self._replace(life, limits)
        before.followed.set()
        return self.daemon

    def _replace(self, life: Life | None, limits: dict[str, int]) -> Daemon:
        """The one that was; nobody has noticed yet that there is another."""
        self.gateway.attached.clear()
        before, self.daemon = self.daemon, Daemon(self, life or Life(), **limits)
        return before

    async def resume(self, life: Life | None = None, **limits: int) -> Daemon:
        """Another daemon, which goes on with what the one before it has left: as `aegis.daemon.run` starts it."""
        before = self._replace(life, limits)
        daemon = self.daemon
        for execution in await self.store.list_unfinished(NODE):
            if execution.parent_id is None:
                await daemon.volumes.restore(execution)
        await daemon.supervisor.recall()
        before.followed.set()  # it listens
        await daemon.reconciler.reconcile(grace_seconds=0)
        daemon.supervisor.proceed()
        return daemon

    async def leftovers(self) -> list[str]:
        """What should not be there when nothing runs."""
        found = [f"{each.what} {each.name}" for each in await self.runtime.list_managed() if each.what != "network"]
        found += [f"export {volume.name}" for volume, _ in self.gateway.attached.values()]
        found += [f"attachment {each.id}" for each in await self.store.list_attachments()]
        volumes = {volume.id: volume for volume in await self.store.list_volumes()}
        for volume in volumes.values():
            if volume.state not in ("deleted", "available", "detached"):
                found.append(f"volume {volume.name} in state {volume.state}")
        for volume_id in self.gateway.storage:
            if volumes[volume_id].owner_execution_id is not None:
                found.append(f"ephemeral storage {volume_id}")
        for execution in await self.store.list_executions():
            if execution.state not in ("completed", "failed", "cancelled"):
                found.append(f"execution in state {execution.state}")
        return found


def _unless_died(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody asks the tasks of a dead daemon how they ended."""
    if not isinstance(context.get("exception"), Died):
        loop.default_exception_handler(context)


async def run_command(container: FakeContainer, argv: list[str]) -> tuple[int, str]:
    """The few programs the containers have: `write PATH TEXT`, `check PATH TEXT`, `exit CODE`, `hang`, `print TEXT`."""
    match argv:
        case ["write", path, text]:
            workspace, relative = container.workspace(path)
            try:
                await workspace.write(relative, text.encode())
            except AegisError as error:
                return 1, str(error)
            return 0, f"wrote {path}"
        case ["check", path, text]:
            workspace, relative = container.workspace(path)
            try:
                found = (await workspace.read(relative, bytes_max=10_000)).decode()
            except AegisError as error:
                return 1, str(error)
            return (0, "as wanted") if found == text else (1, f"found {found!r}, wanted {text!r}")
        case ["append", path, text]:
            workspace, relative = container.workspace(path)
            try:
                there = await workspace.read(relative, bytes_max=10_000)
            except NotFound:
                there = b""
            await workspace.write(relative, there + text.encode())
            return 0, f"appended to {path}"
        case ["exit", code]:
            return int(code), ""
        case ["print", text]:
            return 0, text
        case ["hang"]:
            await asyncio.Event().wait()
    return 127, f"{argv[0]}: not found"
