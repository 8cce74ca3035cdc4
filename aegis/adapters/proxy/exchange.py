"""One client connection: requests one after the other, each identified, admitted, and passed on or refused.

HTTP is read and written by h11, on both sides, so what a server gets is h11's words and never a client's bytes. Every
request goes to the server over a connection of its own. Behind a CONNECT the two connections are joined (`flow`).

The rules to know:
- Who the client is, is asked before anything else is said about a request; `Proxy-Authorization` is read here and goes
  no further.
- The server is that of the request's target. A `Host` header is replaced (RFC 9112 section 3.2.2).
- A refusal names host and reason in its first line too: of an answer to CONNECT most programs show no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import h11

from aegis.adapters.proxy.answers import Answer, answer_to, bad_request, needs_credentials, too_long, unreadable
from aegis.adapters.proxy.dial import dial
from aegis.adapters.proxy.flow import Count, Flow, FlowLost, until_over
from aegis.adapters.proxy.headers import VIA, ambiguous_length, basic_credentials, passed_on
from aegis.adapters.proxy.interface import Egress, R, Route, Session
from aegis.adapters.proxy.targets import BadTarget, Target, absolute_target, connect_target
from aegis.errors import AegisError, HostUnreachable, NetworkDenied

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 64 * 1024
HEAD_SECONDS = 30.0  # for a request's head, from the connection's start or the answer before
LINGER_SECONDS = 1.0  # what comes after our last word is thrown away for so long, that the client may see it
DENIED_PAUSE_SECONDS = 0.05  # before a refusal: who asks in a circle is not answered in one

_REFUSED_METHODS: Final = (b"TRACE",)  # would show an agent what we add, and nothing else


class Exchange:
    """`run` serves the connection to its end and never raises what a peer causes."""

    def __init__(self, client: Flow, egress: Egress[R], idle_seconds: float) -> None:
        self._client = client
        self._egress: Egress[Any] = egress
        self._idle_seconds = idle_seconds
        self._method = b""
        self._has_body = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def run(self) -> None:
        try:
            while await self._one():
                self._http.start_next_cycle()
            await self._linger()
        except FlowLost as error:
            log.debug("a proxy connection ended: %s", error)
        finally:
            self._client.close()

    async def _one(self) -> bool:
        """One request and its answer; whether the connection can be used again."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                request = await self._event()
        except TimeoutError:
            return False
        except h11.RemoteProtocolError as error:
            await self._answer(unreadable(error))
            return False
        if not isinstance(request, h11.Request):
            return False  # the client has gone
        self._method = request.method
        self._has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers)
        try:
            return await self._serve(request)
        except BadTarget as error:
            await self._answer(bad_request(str(error)))
        except h11.RemoteProtocolError as error:
            await self._answer(unreadable(error))
        except AegisError as error:
            if isinstance(error, NetworkDenied):
                await asyncio.sleep(DENIED_PAUSE_SECONDS)
            await self._answer(answer_to(error))
        return self._reusable()

    def _reusable(self) -> bool:
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _serve(self, request: h11.Request) -> bool:
        headers = list(request.headers)
        credentials = basic_credentials(headers)
        session = self._egress.identify(*credentials) if credentials else None
        if session is None:
            await self._answer(needs_credentials(given=credentials is not None))
            return self._reusable()
        if sum(len(name) + len(value) for name, value in headers) > HEAD_BYTES_MAX:
            await self._answer(too_long(HEAD_BYTES_MAX))
            return False
        if request.http_version not in (b"1.0", b"1.1"):
            raise BadTarget(f"HTTP/{request.http_version.decode()} is not spoken here")
        ambiguity = ambiguous_length(headers, request.http_version)
        if ambiguity:
            raise BadTarget(f"it cannot be said where the request ends: {ambiguity}")
        if request.method in _REFUSED_METHODS:
            raise BadTarget(f"{request.method.decode()} is not passed on")
        if request.method == b"CONNECT":
            return await self._tunnel(request, session)
        await self._forward(request, absolute_target(request.method, request.target), session)
        return self._reusable()

    # ---- CONNECT ----

    async def _tunnel(self, request: h11.Request, session: Session[Any]) -> bool:
        target = connect_target(request.target)
        if self._has_body:
            raise BadTarget("CONNECT has no body")
        await self._event()  # h11's end of a request without a body
        route = await session.admit(target.host, target.port)
        try:
            server = await self._dial(route, session)
            route.on_cut(lambda: _abort(self._client, server))
            try:
                await self._joined(server, route)
            finally:
                server.close()
        finally:
            route.close()
        return False

    async def _joined(self, server: Flow, route: Route) -> None:
        # Empty headers: RFC 9110 section 9.3.6 forbids any about a body.
        connected = h11.Response(status_code=200, headers=[], reason=b"connected")
        await self._client.write(self._http.send(connected) or b"")
        leftover, _ = self._http.trailing_data
        self._client.unread(leftover)
        self._client.join(server, route.sent)
        server.join(self._client, route.received)
        await until_over(self._client, server, self._idle_seconds)

    # ---- everything else ----

    async def _forward(self, request: h11.Request, target: Target, session: Session[Any]) -> None:
        route = await session.admit(target.host, target.port)
        server: Flow | None = None
        try:
            server = await self._dial(route, session)
            route.on_cut(lambda: _abort(self._client, server))
            with _watched(self._idle_seconds, server, self._client):
                await self._exchanged(request, target, server, route)
        except (FlowLost, h11.RemoteProtocolError) as error:
            if self._http.our_state is not h11.SEND_RESPONSE or self._client.lost.is_set():
                self._client.abort()  # a part of an answer must not look like a whole one
                raise FlowLost(str(error)) from error
            session.failed(route, f"the server's answer is none: {error}")
            raise HostUnreachable(f"{target.authority} gave no answer that can be read: {error}") from error
        finally:
            route.close()
            if server is not None:
                server.close()

    async def _exchanged(self, request: h11.Request, target: Target, server: Flow, route: Route) -> None:
        """Request and answer at the same time: a server may answer before it has read everything, or want to be asked
        for the body (`Expect`)."""
        upstream = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        headers = [(b"Host", target.authority.encode()), *passed_on(request.headers, drop=[b"host"])]
        head = h11.Request(
            method=request.method, target=target.path, headers=[*headers, VIA, (b"Connection", b"close")]
        )
        send = _sender(upstream, server, route.sent)
        await send(head)
        upload = asyncio.create_task(self._upload(send), name="proxy upload")
        try:
            await self._download(upstream, server, route)
        finally:
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)

    async def _upload(self, send: Send) -> None:
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                await send(event)
            elif isinstance(event, h11.EndOfMessage):
                await send(h11.EndOfMessage())  # trailers are not passed on
                return
            else:
                raise FlowLost("the client has gone")

    async def _download(self, upstream: h11.Connection, server: Flow, route: Route) -> None:
        send = _sender(self._http, self._client, _uncounted)
        while True:
            event = upstream.next_event()
            if event is h11.NEED_DATA:
                data = await server.read()
                route.received(len(data))
                upstream.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                if (self._http.their_http_version or b"1.0") >= b"1.1":
                    await send(h11.InformationalResponse(status_code=event.status_code, headers=event.headers))
            elif isinstance(event, h11.Response):
                headers = [*passed_on(event.headers), VIA]
                await send(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
            elif isinstance(event, h11.Data):
                await send(h11.Data(data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await send(h11.EndOfMessage())
                return
            else:
                raise FlowLost("the server closed the connection without an answer")

    # ---- both ----

    async def _dial(self, route: Route, session: Session[Any]) -> Flow:
        try:
            return await dial(route.host, route.addresses, route.port)
        except HostUnreachable as error:
            session.failed(route, error.message)
            raise

    async def _event(self) -> object:
        """The next of the client's. FlowLost, RemoteProtocolError."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._client.read())
        return event

    async def _answer(self, answer: Answer) -> None:
        """Our own words, where it is still our turn to speak."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE) or self._client.lost.is_set():
            return
        if self._http.their_state is h11.SEND_BODY and not self._has_body:
            await self._event()  # the end, which is there: so the connection can be used again
        body = answer.text.encode()
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            *answer.headers,
        ]
        if answer.is_last or self._http.their_state is h11.SEND_BODY:  # the rest is not worth reading
            headers.append((b"Connection", b"close"))
        send = _sender(self._http, self._client, _uncounted)
        await send(h11.Response(status_code=answer.status, headers=headers, reason=answer.reason))
        if self._method != b"HEAD":
            await send(h11.Data(data=body))
        await send(h11.EndOfMessage())

    async def _linger(self) -> None:
        """A socket that is closed with something unread in it is reset, and takes our last answer with it."""
        self._client.finish()
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while await self._client.read():
                    pass
        except TimeoutError:
            pass


Send = Callable[[h11.Event], Awaitable[None]]


def _sender(connection: h11.Connection, flow: Flow, count: Count) -> Send:
    async def send(event: h11.Event) -> None:
        data = connection.send(event)
        if data:
            count(len(data))
            await flow.write(data)

    return send


def _uncounted(count: int) -> None:
    """Between a client and us: what counts is what goes out to the world and comes from there."""


def _abort(*flows: Flow) -> None:
    for flow in flows:
        flow.abort()


@contextmanager
def _watched(idle_seconds: float, server: Flow, client: Flow) -> Iterator[None]:
    """Through which nothing has gone for so long, the connection to the server is cut, so that the client can still be
    told; and the client's, when that changes nothing."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal timer
        idle = loop.time() - max(server.active_at, client.active_at)
        if idle < idle_seconds:
            timer = loop.call_later(idle_seconds - idle, look)
        elif not server.lost.is_set():
            server.abort()
            timer = loop.call_later(LINGER_SECONDS, look)
        else:
            client.abort()

    timer = loop.call_later(idle_seconds, look)
    try:
        yield
    finally:
        timer.cancel()
