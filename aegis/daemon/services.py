"""The services, wired: which of them needs which, said once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aegis.config.model import NodeConfig
from aegis.daemon import parts
from aegis.ports import Clock, ContainerRuntime, Gateway, LanguageModels, ModelMeter, Signer, Store, ToolServers
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.attesting import AttestTokens
from aegis.services.bundles import Bundles, ImageArchive
from aegis.services.cmd_tool import CMD_RUN
from aegis.services.containers import ContainerMaker, Containers, Place
from aegis.services.dispatch_tokens import TokenOf
from aegis.services.egress import EgressGate
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
from aegis.services.server_tools import ServerTools
from aegis.services.smcp import Smcp
from aegis.services.supervisor import ExecutionSupervisor
from aegis.services.tools import ToolBox
from aegis.services.volumes import VolumeService
from aegis.services.web_tool import WebClient, web_fetch
from aegis.version import VERSION


@dataclass(frozen=True, slots=True)
class World:
    """What the services work on: every port's implementation."""

    store: Store
    events: EventRecorder
    gateway: Gateway
    volumes: VolumeService
    engine: ContainerRuntime
    image_archive: ImageArchive  # the same engine
    models: LanguageModels
    clock: Clock
    node_id: str
    meter: ModelMeter
    signer: Signer
    tool_servers: ToolServers
    agent_secrets: AgentSecrets
    egress: EgressGate
    web: WebClient
    place: Callable[[str], Place]  # where an execution's containers are put
    token_of: TokenOf


@dataclass(frozen=True, slots=True)
class Services:
    supervisor: ExecutionSupervisor
    inner_loop: InnerLoop
    volumes: VolumeService
    bundles: Bundles
    reconciler: Reconciler
    smcp: Smcp


def make_services(config: NodeConfig, world: World) -> Services:
    jobs = Jobs()
    maker = ContainerMaker(
        parts.container_settings(config, world.node_id, world.gateway.port, world.place, world.egress)
    )
    volumes = world.volumes
    policy = ToolPolicy(config.security_contexts)
    calls = ModelCalls(
        store=world.store, models=world.models, clock=world.clock, meter=world.meter, secrets=world.agent_secrets
    )
    attest_tokens = AttestTokens(world.signer, world.clock)
    web = web_fetch(world.web, world.egress, policy)
    inner_loop = InnerLoop(
        secrets=world.agent_secrets,
        store=world.store,
        models=calls,
        tools=ToolBox([CMD_RUN, *fs_tools(jobs), web], policy, [ServerTools(world.tool_servers)]),
        gateway=world.gateway,
        events=world.events,
        clock=world.clock,
        command_environment=attest_tokens.environment,
        remarks=world.egress.refusals,
        rounds_max=config.limits.tool_rounds,
    )
    judge_agents = JudgeAgents(world.store)
    judges = Judges(models=calls, agents=judge_agents, clock=world.clock)
    iterations = IterationRunner(
        secrets=world.agent_secrets,
        store=world.store,
        runtime=world.engine,
        containers=Containers(world.engine, world.clock),
        maker=maker,
        inner_loop=inner_loop,
        panel=Panel(jobs, judges),
        gateway=world.gateway,
        egress=world.egress,
        clock=world.clock,
    )
    runner = ExecutionRunner(
        store=world.store,
        runtime=world.engine,
        maker=maker,
        volumes=volumes,
        iterations=iterations,
        leftovers=Leftovers(world.engine, world.node_id),
        events=world.events,
        clock=world.clock,
    )
    supervisor = ExecutionSupervisor(
        agent_secrets=world.agent_secrets,
        store=world.store,
        runner=runner,
        maker=maker,
        models=world.models,
        policy=policy,
        events=world.events,
        clock=world.clock,
        prefetcher=Prefetcher(world.engine),
        node_id=world.node_id,
        token_of=world.token_of,
        limits=parts.admission_limits(config),
    )
    judge_agents.supervisor = supervisor
    reconciler = Reconciler(
        store=world.store,
        runtime=world.engine,
        volumes=volumes,
        supervisor=supervisor,
        events=world.events,
        clock=world.clock,
        node_id=world.node_id,
    )
    smcp = Smcp(signer=world.signer, attest_tokens=attest_tokens, sessions=inner_loop, clock=world.clock)
    bundles = Bundles(
        store=world.store, engine=world.image_archive, image_of=maker.image, clock=world.clock, version=VERSION
    )
    return Services(supervisor, inner_loop, volumes, bundles, reconciler, smcp)
