"""`web.fetch`: one page of the web as text, fetched by the daemon on the agent's behalf.

The same decision as the proxy's: the execution's own session admits each host, and the client connects to the addresses
of that decision. A redirect is another URL: it is judged like the first one, by the security contexts and by the
session, before anything is asked of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Protocol
from urllib.parse import urldefrag, urljoin, urlsplit

from pydantic import Field

from aegis.domain.capabilities import Touched
from aegis.domain.hosts import url_host, url_port
from aegis.domain.text import shorten
from aegis.errors import Denied, HostUnreachable, NetworkDenied, Refused
from aegis.services.egress import EgressGate
from aegis.services.policy import ToolPolicy
from aegis.services.tools import RESULT_CHARACTERS_MAX, Arguments, Perform, Tool, ToolContext
from aegis.services.web_text import decoded, is_text, media_type, text_of_html

BYTES_MAX: Final = 2 * 1024 * 1024
REDIRECTS_MAX: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
NAME: Final = "web.fetch"


class WebPage(Protocol):
    """One answer, redirects not followed. `location`: where it sends to, as it says it."""

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str:
        """With its parameters; "" when there is none."""
        ...

    @property
    def body(self) -> bytes: ...

    @property
    def is_whole(self) -> bool:
        """Whether the body is all of it."""
        ...

    @property
    def location(self) -> str | None: ...


class WebClient(Protocol):
    async def get(self, url: str, addresses: Sequence[str], *, bytes_max: int) -> WebPage:
        """GET from one of these addresses and no others, whatever the URL's host would resolve to. HostUnreachable."""
        ...


class FetchArguments(Arguments):
    url: Annotated[str, Field(min_length=1, max_length=4096, description="http:// or https://")]


class WebFetch:
    def __init__(self, client: WebClient, gate: EgressGate, policy: ToolPolicy) -> None:
        self._client = client
        self._gate = gate
        self._policy = policy

    async def __call__(self, arguments: FetchArguments, context: ToolContext) -> str:
        url = _clean(arguments.url)
        for _ in range(REDIRECTS_MAX + 1):
            page = await self._get(url, context)
            if page.status not in REDIRECTS or not page.location:
                return _shown(url, page)
            url = _clean(urljoin(url, page.location))
            decision = self._policy.may_visit(context.execution.manifest, NAME, url)
            if not decision.allowed:
                raise Denied(f"it is redirected to {url:.200}, which is refused: {decision.refusal}")
        raise Refused(f"more than {REDIRECTS_MAX} redirects, the last one to {url:.200}")

    async def _get(self, url: str, context: ToolContext) -> WebPage:
        session = self._gate.of(context.execution.id)
        try:
            route = await session.admit(url_host(url), url_port(url) or 0)  # `_clean` has seen to both
        except HostUnreachable as error:
            raise Refused(str(error)) from error
        except NetworkDenied:
            session.refusals()  # told as this call's result
            raise
        try:
            page = await self._client.get(url, route.addresses, bytes_max=BYTES_MAX)
        except HostUnreachable as error:  # the world's, and for the model to work around
            session.failed(route, error.message)
            raise Refused(str(error)) from error
        finally:
            route.close()
        route.received(len(page.body))
        return page


def web_fetch(client: WebClient, gate: EgressGate, policy: ToolPolicy) -> Tool:
    return web_tool(WebFetch(client, gate, policy))


def web_tool(perform: Perform) -> Tool:
    """The tool as it is decided about, whoever fetches: a replay has what was fetched."""
    about = "Read a web page or another text on the web: HTML as plain text, JSON and other text as it is."
    return Tool(NAME, about, FetchArguments, perform, _touches)


def _touches(arguments: FetchArguments, _context: ToolContext) -> Touched:
    return Touched(urls=(arguments.url,))


def _clean(url: str) -> str:
    """Without its fragment. Refused for what has no certain host, or a user and password in it."""
    url = urldefrag(url.strip()).url
    try:
        parts = urlsplit(url)
        url_host(url)
        if parts.port == 0:
            raise ValueError(f"{url!r:.200} names the port 0")
    except ValueError as error:
        raise Refused(str(error)) from None
    if parts.scheme.lower() not in ("http", "https"):
        raise Refused(f"{parts.scheme}:// is not read here, only http:// and https://")
    if parts.username is not None or parts.password is not None:
        raise Refused("a URL with a user or password in it is not fetched")
    return url


def _shown(url: str, page: WebPage) -> str:
    kind = media_type(page.content_type)
    head = f"{url}\nstatus: {page.status}, {kind}, {len(page.body)} bytes{'' if page.is_whole else ' (and more)'}"
    if not page.body:
        return head
    if page.content_type and not is_text(page.content_type):
        return f"{head}\n(not text: fetch it with a command in the container, into a file)"
    text = decoded(page.body, page.content_type)
    text = text_of_html(text) if kind in ("text/html", "application/xhtml+xml") else text
    return f"{head}\n\n{shorten(text, RESULT_CHARACTERS_MAX - len(head) - 100)}"
