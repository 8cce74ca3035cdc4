"""What the proxy needs of the services, as narrow protocols: who a client is, and whether it may go there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Route(Protocol):
    """A way that was admitted, to these addresses and no others. `sent`, `received`: bytes, as seen by the agent."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def addresses(self) -> Sequence[str]: ...

    def sent(self, count: int) -> None: ...

    def received(self, count: int) -> None: ...

    def on_cut(self, cut: Callable[[], None]) -> None: ...

    def close(self) -> None: ...


R = TypeVar("R", bound=Route)


class Session(Protocol[R]):
    async def admit(self, host: str, port: int) -> R:
        """AegisError in words for the agent, with the status to answer."""
        ...

    def failed(self, route: R, why: str) -> None: ...


class Egress(Protocol[R]):
    def identify(self, user: str, key: str) -> Session[R] | None: ...
