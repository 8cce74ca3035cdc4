"""`/health/live`, `/health/ready`, `/health`: is the process alive, can it work, and what is missing.

Live says only that the event loop turns. Ready asks every dependency at once, each with a deadline; the routes are
open, so one round of checks serves all who ask within a second. Why a dependency is down is told to loopback callers
and to bearers of an API token; others learn which one and its code.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from ipaddress import ip_address

from aiohttp import web

from aegis.api.auth import Access, ApiTokens, bearer
from aegis.api.context import context_of
from aegis.api.routing import Route, json_response
from aegis.api.views import DependencyView, HealthView
from aegis.errors import AegisError
from aegis.ports import HealthCheck

CHECK_SECONDS = 5.0
FRESH_SECONDS = 1.0

log = logging.getLogger(__name__)


class Health:
    """Runs the checks; at most one round at a time, whoever asks."""

    def __init__(
        self,
        checks: Mapping[str, HealthCheck],
        tokens: ApiTokens | None,
        optional: Mapping[str, HealthCheck] | None = None,
    ) -> None:
        self._checks = checks  # not copied: the daemon adds to them while its parts come up
        self._optional = optional or {}
        self._tokens = tokens
        self._lock = asyncio.Lock()
        self._latest: list[DependencyView] = []
        self._asked_at: float | None = None
        self.started_at = time.monotonic()

    async def dependencies(self) -> list[DependencyView]:
        async with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at > FRESH_SECONDS:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(_ask(name, check, optional=optional), name=f"health-{name}")
                        for checks, optional in ((self._checks, False), (self._optional, True))
                        for name, check in checks.items()
                    ]
                self._latest = [task.result() for task in tasks]
                self._asked_at = time.monotonic()
            return self._latest

    def shown_to(self, request: web.Request, found: list[DependencyView]) -> list[DependencyView]:
        if _is_loopback(request.remote) or (self._tokens is not None and self._tokens.accept(bearer(request))):
            return found
        return [view.model_copy(update={"detail": "", "next_step": ""}) for view in found]


HEALTH: web.AppKey[Health] = web.AppKey("health", Health)


async def _ask(name: str, check: HealthCheck, *, optional: bool) -> DependencyView:
    """Never raises: whatever a check does is that dependency's state."""
    started = time.monotonic()
    code = detail = next_step = ""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except AegisError as error:
        code, detail, next_step = error.code, error.message, error.next_step
    except TimeoutError:
        code, detail = "timeout", f"No answer within {CHECK_SECONDS:.0f} s"
    except Exception as error:  # a check that breaks must not take the others' answers with it
        log.exception("the health check of %s broke", name)
        code, detail = "internal", f"The check itself failed: {type(error).__name__}"
    duration_ms = int((time.monotonic() - started) * 1000)
    return DependencyView(
        dependency=name,
        ok=not code,
        optional=optional,
        duration_ms=duration_ms,
        code=code,
        detail=detail,
        next_step=next_step,
    )


def _ready(found: list[DependencyView]) -> bool:
    return all(view.ok or view.optional for view in found)


def _is_loopback(remote: str | None) -> bool:
    try:
        return remote is not None and ip_address(remote).is_loopback
    except ValueError:
        return False


async def live(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """200 or 503, and one JSON line for each dependency."""
    health = request.app[HEALTH]
    found = await health.dependencies()
    lines = "".join(view.model_dump_json() + "\n" for view in health.shown_to(request, found))
    status = 200 if _ready(found) else 503
    return web.Response(status=status, text=lines, content_type="application/x-ndjson")


async def overall(request: web.Request) -> web.Response:
    """Always 200 while the daemon answers: the whole picture as one document."""
    health = request.app[HEALTH]
    found = await health.dependencies()
    view = HealthView(
        status="ok" if _ready(found) else "degraded",
        version=context_of(request).version,
        uptime_seconds=int(time.monotonic() - health.started_at),
        dependencies=health.shown_to(request, found),
    )
    return json_response(view)


LIVE = Route(method="GET", path="/health/live", handler=live, access=Access.OPEN, summary="The process is alive")
ROUTES = (
    LIVE,
    Route(
        method="GET",
        path="/health/ready",
        handler=ready,
        access=Access.OPEN,
        summary="Every dependency is there (200) or one is not (503); a JSON line for each",
        response=DependencyView,
        response_type="application/x-ndjson",
    ),
    Route(
        method="GET",
        path="/health",
        handler=overall,
        access=Access.OPEN,
        summary="State, version and dependencies",
        response=HealthView,
    ),
)
