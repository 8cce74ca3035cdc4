"""The daemon's life: everything made, started in order, stopped in reverse.

Order of the start: logs, state directory, database, volumes of what goes on, gateway, services, what goes on, API; the
engine in its own time (`link.py`), and what goes on after it.
Order of the stop: no new work, running executions ended and cleared up (their containers' last flush needs the gateway,
so mounts are gone before it is), the network, API, engine, gateway, file events, database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from aegis.adapters.nfs import NfsGateway, polling_loop_factory, raise_descriptor_limit
from aegis.adapters.proxy import ProxyServer, SystemResolver
from aegis.adapters.signing import SigningKeys
from aegis.adapters.store.repository import open_store
from aegis.adapters.systemd import Notifier
from aegis.adapters.web import AiohttpWebClient
from aegis.api.app import create_app
from aegis.api.auth import ensure_token_file
from aegis.api.server import ApiServer
from aegis.config.load import LoadedConfig, load_config
from aegis.config.model import NodeConfig
from aegis.daemon import parts
from aegis.daemon.link import EngineLink
from aegis.daemon.meters import EgressMeter, GatewayMeter
from aegis.daemon.network import ContainerNetworks
from aegis.daemon.services import Services, World, make_services
from aegis.documents import load_manifest
from aegis.errors import AegisError, WorldError
from aegis.logs import configure_logging, hide_also
from aegis.metrics import ModelMetrics
from aegis.ports import HealthCheck, Store
from aegis.services.agent_secrets import concealing
from aegis.services.dispatch_tokens import dispatch_tokens
from aegis.services.pump import EventPump
from aegis.services.recorder import EventRecorder
from aegis.services.timing import SystemClock
from aegis.services.volumes import VolumeService
from aegis.version import VERSION

log = logging.getLogger(__name__)

STOP_MARGIN_SECONDS = 30.0


def run(config_path: Path | None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. What prevents the start is said on standard error."""
    try:
        loaded = load_config(config_path, os.environ, secrets=parts.open_secrets)
    except AegisError as error:
        print(f"aegis: {error}", file=sys.stderr)
        return 1
    config = loaded.config
    configure_logging(
        level=config.logging.level, format=config.logging.format, secrets=[*parts.secrets_of(config), *loaded.secrets]
    )
    for note in loaded.notes:
        log.warning("%s", note)
    raise_descriptor_limit()  # before the first volume is opened: they share what there is
    try:
        poll_seconds = config.storage.nfs_busy_poll_microseconds / 1e6
        with asyncio.Runner(loop_factory=polling_loop_factory(poll_seconds)) as runner:
            runner.run(serve(loaded))
    except AegisError as error:
        log.error("the daemon cannot run: %s", error)
        return 1
    return 0


async def serve(loaded: LoadedConfig) -> None:
    """The whole life of the daemon. AegisError when it cannot start; what was started is stopped then."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    notifier = Notifier(os.environ)
    async with AsyncExitStack() as stack:
        where = await start(loaded.config, stack)
        await stack.enter_async_context(running(notifier.run_watchdog(), "systemd-watchdog"))
        notifier.ready(where)
        log.info("ready: %s (configuration: %s)", where, loaded.source)
        await stop.wait()
        log.info("stopping: running executions are ended first")
        notifier.stopping("ending running executions")
        notifier.extend_timeout(loaded.config.limits.shutdown_seconds + STOP_MARGIN_SECONDS)
    log.info("stopped")


async def start(config: NodeConfig, stack: AsyncExitStack) -> str:
    """Make and start everything; each part's end goes on `stack`. Returns where it listens, for people."""
    directory = parts.state_directory(config)
    parts.only_daemon(directory, stack)
    agent_secrets = parts.agent_secrets(config, stack)
    hide_also(agent_secrets.concealed)
    database = await open_store(
        config.database.url.get_secret_value(), wait_seconds=config.database.connect_timeout_seconds
    )
    stack.push_async_callback(database.close)
    store = concealing(database, agent_secrets)
    events = EventRecorder(store)
    stack.callback(events.close)
    pump = await stack.enter_async_context(pumping(events))
    gateway = parts.gateway(config, directory, pump)
    clock, node_id = SystemClock(), parts.node_id(directory)
    volumes = VolumeService(store, gateway, events, clock)
    stack.push_async_callback(gateway.close)
    await restore(store, volumes, node_id)  # before a live container's mount is answered for the first time
    await gateway.start()
    engine = parts.engine(config, node_id)
    stack.push_async_callback(engine.close)
    models = parts.models(config)
    stack.push_async_callback(models.close)

    tool_servers = parts.tool_servers(config)
    await stack.enter_async_context(tool_servers.running())

    registry = CollectorRegistry()
    meter = ModelMetrics(registry)
    signer = SigningKeys(directory, clock)
    resolver = SystemResolver()
    stack.callback(resolver.close)
    egress = parts.egress_gate(config, directory, resolver, pump, clock)
    proxy = ProxyServer(egress, idle_seconds=config.egress.idle_timeout_seconds)
    registry.register(EgressMeter(egress, proxy))
    registry.register(GatewayMeter(gateway))
    networks = ContainerNetworks(config, engine, proxy, node_id)
    world = World(
        store=store,
        events=events,
        gateway=gateway,
        volumes=volumes,
        engine=engine,
        image_archive=engine,
        models=models,
        clock=clock,
        node_id=node_id,
        meter=meter,
        signer=signer,
        tool_servers=tool_servers,
        agent_secrets=agent_secrets,
        egress=egress,
        web=AiohttpWebClient(),
        place=networks.place,
        token_of=dispatch_tokens(parts.node_secret(directory)),
    )
    services = make_services(config, world)
    link = EngineLink(engine, lambda: networks.open(app))  # made below: its health asks the link
    checks = {**health_checks(config, world, gateway, link), "egress": proxy.probe}  # well while nothing listens yet
    app = application(config, directory, world, services, checks, tool_servers.checks(), registry)
    await services.supervisor.recall()  # before the API listens: containers that call are known
    await listen(config, app, stack)
    stack.push_async_callback(networks.close)
    await stack.enter_async_context(running(egress.run(), "network-events"))
    stack.push_async_callback(services.supervisor.close)
    await stack.enter_async_context(running(housekeeping(link, services), "housekeeping"))
    await stack.enter_async_context(running(link.run(), "engine-link"))
    addresses = ", ".join(f"http://{address.host}:{address.port}" for address in config.api.listen)
    return f"API on {addresses}; NFS on port {gateway.port}"


def application(
    config: NodeConfig,
    directory: Path,
    world: World,
    services: Services,
    checks: Mapping[str, HealthCheck],
    optional_checks: Mapping[str, HealthCheck],
    registry: CollectorRegistry,
) -> web.Application:
    """The API. The node's own token is always accepted, beside those of the configuration."""
    tokens = [token.get_secret_value() for token in config.api.tokens]
    return create_app(
        store=world.store,
        events=world.events,
        clock=world.clock,
        supervisor=services.supervisor,
        inner_loop=services.inner_loop,
        tool_calls=services.smcp,
        volumes=services.volumes,
        bundles=services.bundles,
        gateway=world.gateway,
        load_manifest=load_manifest,
        health_checks=checks,
        optional_checks=optional_checks,
        api_tokens=[*tokens, ensure_token_file(directory)],
        tenant_tokens={
            name: [token.get_secret_value() for token in tenant.tokens] for name, tenant in config.api.tenants.items()
        },
        version=VERSION,
        tenant_id=config.node.tenant_id,
        registry=registry,
    )


async def listen(config: NodeConfig, app: web.Application, stack: AsyncExitStack) -> None:
    for address in config.api.listen:
        server = ApiServer(app, address.host, address.port)
        await server.start()
        stack.push_async_callback(server.close)


def health_checks(config: NodeConfig, world: World, gateway: NfsGateway, link: EngineLink) -> dict[str, HealthCheck]:
    async def storage() -> None:
        if not os.access(config.storage.root, os.W_OK | os.X_OK):
            raise WorldError(f"the storage root {config.storage.root} cannot be written by user {os.getuid()}")

    async def llm() -> None:
        if not world.models.aliases:
            raise WorldError("no model is configured", next_step="Set models.default in the configuration")

    return {"docker": link.check, "nfs": gateway.probe, "database": world.store.ping, "storage": storage, "llm": llm}


async def housekeeping(link: EngineLink, services: Services) -> None:
    """From the engine's first answer on: what an earlier daemon left and is not to go on goes at once, then the rest
    goes on; what nobody holds goes every minute."""
    await link.linked.wait()
    await services.reconciler.run(after_pass=services.supervisor.proceed)


async def restore(store: Store, volumes: VolumeService, node_id: str) -> None:
    """Every volume of an execution that goes on is exported as it was."""
    for execution in await store.list_unfinished(node_id):
        if execution.parent_id is None:
            await volumes.restore(execution)


@contextlib.asynccontextmanager
async def pumping(events: EventRecorder) -> AsyncIterator[EventPump]:
    """File events are stored while the block runs, and what waits at its end too."""
    pump = EventPump(events)
    task = asyncio.create_task(pump.run(), name="file-events")
    try:
        yield pump
    finally:
        pump.close()
        await task


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """A task for as long as the block; its own exception, our mistake, comes out at the end of the block."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
