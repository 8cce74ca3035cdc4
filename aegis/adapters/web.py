"""The `WebClient` of `web.fetch` on aiohttp: one GET, from addresses that somebody else has chosen.

The rule to know: nothing is resolved here. aiohttp's connector is given a resolver that knows the given addresses and
nothing else, no proxy from the environment, no cookies, no redirects.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from aegis.errors import HostUnreachable

GET_SECONDS = 30.0
HEADERS_BYTES_MAX = 16 * 1024  # of one header line
_HEADERS = {
    "User-Agent": "aegis web.fetch",
    "Accept": "text/*, application/json, */*;q=0.5",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class WebPage:
    status: int
    content_type: str
    body: bytes
    is_whole: bool
    location: str | None


class _Given(AbstractResolver):
    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


class AiohttpWebClient:
    """A connection for each call: what one agent was answered is nothing to the next one's connection."""

    async def get(self, url: str, addresses: Sequence[str], *, bytes_max: int) -> WebPage:
        connector = aiohttp.TCPConnector(resolver=_Given(addresses), use_dns_cache=False, force_close=True)
        timeout = aiohttp.ClientTimeout(total=GET_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=timeout,
                    headers=_HEADERS,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,  # a small body may unfold to any size
                    max_line_size=HEADERS_BYTES_MAX,
                    max_field_size=HEADERS_BYTES_MAX,
                ) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                return await _page(answer, bytes_max)
        except (TimeoutError, asyncio.IncompleteReadError):
            raise HostUnreachable(f"{url} gave no whole answer within {GET_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HostUnreachable(f"{url} cannot be read: {error or type(error).__name__}") from error


async def _page(answer: aiohttp.ClientResponse, bytes_max: int) -> WebPage:
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise aiohttp.ClientPayloadError(f"it is encoded as {encoding}, and was asked for as it is")
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            break
    return WebPage(
        status=answer.status,
        content_type=answer.headers.get("Content-Type", ""),
        body=bytes(body[:bytes_max]),
        is_whole=len(body) <= bytes_max,
        location=answer.headers.get("Location"),
    )
