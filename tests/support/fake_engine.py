"""A Docker Engine of our own on a unix socket that does, on demand, what a healthy real one does once a month.

It keeps containers, volumes, networks and images as the real one does (20.10: the texts and status codes are copied
from it), and has switches for its bad days: it does the work and loses the reply, never answers, restarts, has twins of
a network, is still removing what it was told to remove, breaks off a pull. It never scripts calls: any order of
requests gets the answer its state implies.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

JSON = dict[str, Any]
_NEVER = "0001-01-01T00:00:00Z"
_NOW = "2026-01-01T00:00:00Z"


class _Failure(Exception):
    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message


class FakeEngine:
    """The switches are plain attributes; set them at any time."""

    def __init__(self, directory: Path) -> None:
        self.socket_path = directory / "fake.sock"
        self.containers: dict[str, JSON] = {}
        self.volumes: dict[str, JSON] = {}
        self.networks: dict[str, JSON] = {}
        self.images: set[str] = {"busybox"}
        self.requests: Counter[str] = Counter()  # "POST create" -> how often it arrived
        self.starts: Counter[str] = Counter()  # container id -> how often its process was started
        # bad days
        self.lose_replies: Counter[str] = Counter()  # "POST create" -> how many of the next replies are lost
        self.hang: set[str] = set()  # "POST create": accepted, never answered
        self.not_docker = False
        self.removals_in_progress = 0  # so many removals are answered with 409 before the container is gone
        self.uses_after_removal = 0  # so often a volume is still "in use" after its container has gone
        self.network_twin = False  # somebody else creates the same network at the same time, a little earlier
        self.start_error = ""
        self.log_frames: list[tuple[int, bytes]] = []
        self.log_frames_followed: int | None = None  # following ends after so many, though there are more
        # pulls
        self.pull_lines: list[JSON] = []
        self.pull_gate = asyncio.Event()  # a pull ends when it is set
        self.pull_gate.set()
        self.pull_breaks_off = False
        self.pull_delivers = True
        self.pulls_cancelled = 0
        self.last_auth: str | None = None
        self._ids = (f"{number:064x}" for number in itertools.count(1))
        self._runner: web.AppRunner | None = None
        self._news = asyncio.Condition()
        self._ended: dict[str, asyncio.Event] = {}

    # ---- its life ----

    async def start(self) -> None:
        app = web.Application(middlewares=[self._middleware])
        add = app.router.add_route
        for method, path, handler in (
            ("GET", "/version", self._version),
            ("GET", "/{api}/version", self._version),
            ("GET", "/{api}/info", self._info),
            ("POST", "/{api}/containers/create", self._create),
            ("GET", "/{api}/containers/json", self._list),
            ("GET", "/{api}/containers/{id}/json", self._inspect),
            ("POST", "/{api}/containers/{id}/start", self._start),
            ("POST", "/{api}/containers/{id}/wait", self._wait),
            ("POST", "/{api}/containers/{id}/kill", self._kill),
            ("GET", "/{api}/containers/{id}/logs", self._logs),
            ("DELETE", "/{api}/containers/{id}", self._remove),
            ("POST", "/{api}/volumes/create", self._create_volume),
            ("GET", "/{api}/volumes/{name}", self._show_volume),
            ("DELETE", "/{api}/volumes/{name}", self._remove_volume),
            ("POST", "/{api}/networks/create", self._create_network),
            ("GET", "/{api}/networks", self._list_networks),
            ("GET", "/{api}/networks/{id}", self._show_network),
            ("DELETE", "/{api}/networks/{id}", self._remove_network),
            ("GET", "/{api}/images/{name:.+}/json", self._show_image),
            ("POST", "/{api}/images/create", self._pull),
        ):
            add(method, path, handler)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket_path)).start()

    async def stop(self) -> None:
        """Cuts every connection, as a killed engine does; what it knows is on its disk."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        self.socket_path.unlink(missing_ok=True)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Looks again after every request that arrives and every pull that is given up."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(happened)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    def finish(self, container_id: str, exit_code: int, *, out_of_memory: bool = False) -> None:
        state = self.containers[container_id]["State"]
        state.update(Status="exited", Running=False, ExitCode=exit_code, OOMKilled=out_of_memory)
        self._ended[container_id].set()

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        call = f"{request.method} {request.path.rpartition('/')[2]}"
        if request.method == "DELETE":
            call = f"DELETE {request.path.split('/')[2]}"
        self.requests[call] += 1
        await self._tell()
        if self.not_docker:
            return web.Response(text="<html>welcome to nginx</html>", content_type="text/html")
        if call in self.hang:
            await asyncio.Event().wait()
        try:
            answer = await handler(request)
        except _Failure as failure:
            answer = web.json_response({"message": failure.message}, status=failure.status)
        if self.lose_replies[call]:
            self.lose_replies[call] -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer

    # ---- the engine ----

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"Version": "20.10.24", "ApiVersion": "1.41"})

    async def _info(self, request: web.Request) -> web.Response:
        options = ["name=seccomp,profile=default", "name=rootless", "name=userns"]
        return web.json_response({"SecurityOptions": options, "KernelVersion": "6.1", "OperatingSystem": "Fake"})

    # ---- containers ----

    def _container(self, request: web.Request) -> JSON:
        wanted = request.match_info["id"]
        for found in self.containers.values():
            if wanted in (found["Id"], found["Name"].lstrip("/")):
                return found
        raise _Failure(404, f"No such container: {wanted}")

    async def _create(self, request: web.Request) -> web.Response:
        name, config = request.query["name"], await request.json()
        for found in self.containers.values():
            if found["Name"] == f"/{name}":
                text = f'Conflict. The container name "/{name}" is already in use by container "{found["Id"]}".'
                raise _Failure(409, text)
        if config["Image"] not in self.images:
            raise _Failure(404, f"No such image: {config['Image']}")
        state = {"Status": "created", "Running": False, "StartedAt": _NEVER, "ExitCode": 0, "OOMKilled": False}
        container_id = next(self._ids)
        self.containers[container_id] = {"Id": container_id, "Name": f"/{name}", "Config": config, "State": state}
        self._ended[container_id] = asyncio.Event()
        return web.json_response({"Id": container_id, "Warnings": []}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "Id": key,
                    "Names": [found["Name"]],
                    "State": found["State"]["Status"],
                    "Labels": found["Config"]["Labels"],
                }
                for key, found in self.containers.items()
            ]
        )

    async def _inspect(self, request: web.Request) -> web.Response:
        return web.json_response(self._container(request))

    async def _start(self, request: web.Request) -> web.Response:
        found = self._container(request)
        if self.start_error:
            raise _Failure(500, self.start_error)
        if found["State"]["Running"]:
            return web.Response(status=304)
        self.starts[found["Id"]] += 1
        found["State"].update(Status="running", Running=True, StartedAt=_NOW)
        if found["Config"]["Cmd"] == ["/bin/true"]:
            self.finish(found["Id"], 0)
        return web.Response(status=204)

    async def _wait(self, request: web.Request) -> web.Response:
        found = self._container(request)
        if found["State"]["Running"]:
            await self._ended[found["Id"]].wait()
        return web.json_response({"StatusCode": found["State"]["ExitCode"], "Error": None})

    async def _kill(self, request: web.Request) -> web.Response:
        found = self._container(request)
        if not found["State"]["Running"]:
            raise _Failure(409, f"Cannot kill container: {found['Id']}: Container {found['Id']} is not running")
        self.finish(found["Id"], 137)
        return web.Response(status=204)

    async def _logs(self, request: web.Request) -> web.Response:
        self._container(request)
        frames = self.log_frames
        if request.query["follow"] == "1":
            frames = frames[: self.log_frames_followed]
        return web.Response(body=b"".join(struct.pack(">B3xL", number, len(data)) + data for number, data in frames))

    async def _remove(self, request: web.Request) -> web.Response:
        found = self._container(request)
        if self.removals_in_progress:
            self.removals_in_progress -= 1
            raise _Failure(409, f"removal of container {found['Id']} is already in progress")
        del self.containers[found["Id"]]
        return web.Response(status=204)

    # ---- volumes ----

    async def _create_volume(self, request: web.Request) -> web.Response:
        config = await request.json()
        fields = {"Name": config["Name"], "Driver": config["Driver"], "Options": config["DriverOpts"]}
        found = self.volumes.setdefault(config["Name"], fields | {"Labels": config["Labels"]})
        return web.json_response(found, status=201)

    async def _show_volume(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self.volumes:
            raise _Failure(404, f"get {request.match_info['name']}: no such volume")
        return web.json_response(self.volumes[request.match_info["name"]])

    async def _remove_volume(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.volumes:
            raise _Failure(404, f"get {name}: no such volume")
        if self.uses_after_removal:
            self.uses_after_removal -= 1
            raise _Failure(409, f"remove {name}: volume is in use - [0123456789ab]")
        del self.volumes[name]
        return web.Response(status=204)

    # ---- networks ----

    async def _create_network(self, request: web.Request) -> web.Response:
        config = await request.json()
        if any(found["Name"] == config["Name"] for found in self.networks.values()):
            raise _Failure(409, f"network with name {config['Name']} already exists")
        if self.network_twin:
            self._add_network(config, "2025-12-31T00:00:00Z")
        return web.json_response({"Id": self._add_network(config, _NOW), "Warning": ""}, status=201)

    def _add_network(self, config: JSON, created: str) -> str:
        network_id = next(self._ids)
        third = len(self.networks)
        ipam = config.get("IPAM") or {"Config": [{"Subnet": f"172.18.{third}.0/24"}]}
        self.networks[network_id] = {**config, "Id": network_id, "Created": created, "IPAM": ipam}
        return network_id

    async def _list_networks(self, request: web.Request) -> web.Response:
        filters = json.loads(request.query.get("filters", "{}"))
        names = filters.get("name", [""])  # parts of names match, as in the real one
        return web.json_response([found for found in self.networks.values() if any(n in found["Name"] for n in names)])

    async def _show_network(self, request: web.Request) -> web.Response:
        return web.json_response(self.networks[request.match_info["id"]])

    async def _remove_network(self, request: web.Request) -> web.Response:
        if self.networks.pop(request.match_info["id"], None) is None:
            raise _Failure(404, f"network {request.match_info['id']} not found")
        return web.Response(status=204)

    # ---- images ----

    async def _show_image(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.images:
            raise _Failure(404, f"No such image: {name}")
        return web.json_response({"Id": f"sha256:{len(name):064x}"})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        self.last_auth = request.headers.get("X-Registry-Auth")
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        for line in self.pull_lines:
            await answer.write(json.dumps(line).encode() + b"\r\n")
        try:
            await self.pull_gate.wait()
        except asyncio.CancelledError:
            self.pulls_cancelled += 1
            await self._tell()
            raise
        if self.pull_breaks_off:
            assert request.transport is not None
            request.transport.abort()
        elif self.pull_delivers:
            self.images.add(f"{request.query['fromImage']}:{request.query['tag']}")
        await answer.write_eof()
        return answer
