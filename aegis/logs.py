"""Logging: one line an event on the error stream, as text for people or JSON for machines, secrets taken out.

Everything goes through the standard library's `logging`, which third-party code uses; structlog formats it. So there is
one place where a secret is caught: values under a telling key, texts that were registered, passwords in addresses.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TextIO

import structlog

HIDDEN = "***"
SECRET_KEY = re.compile(r"(?:^|_)(?:token|secret|password|passwd|api_?key|authorization|credentials?)$", re.IGNORECASE)
URL_PASSWORD = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s@/]+(?=@)", re.IGNORECASE)
BEARER = re.compile(r"(?P<head>\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
SHORTEST_SECRET = 6  # a shorter text would blank half of the log
QUIET = dict.fromkeys(  # at debug the SDKs log whole conversations
    ("aiosqlite", "httpx", "httpcore", "openai", "anthropic", "mcp", "urllib3", "asyncio", "aiohttp"), logging.WARNING
)


_ALSO: list[Callable[[str], str]] = []


def hide_also(clean: Callable[[str], str]) -> None:
    """Every text logged from now on goes through `clean` as well: for secrets that become known while we run."""
    _ALSO.append(clean)


class Redactor:
    """A structlog processor. `secrets` are the texts this process knows to be secret, wherever they turn up."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one may be the beginning of another.
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {key: HIDDEN if SECRET_KEY.search(key) and value else self.clean(value) for key, value in event.items()}

    def clean(self, value: Any) -> Any:
        """`value` without secrets, in the same shape; whatever is no text, number or container stays."""
        if isinstance(value, str):
            if self._known is not None:
                value = self._known.sub(HIDDEN, value)
            for clean in _ALSO:
                value = clean(value)
            value = URL_PASSWORD.sub(rf"\g<head>{HIDDEN}", value)
            return BEARER.sub(rf"\g<head>{HIDDEN}", value)
        if isinstance(value, Mapping):
            return self(None, "", {str(key): inner for key, inner in value.items()})
        if isinstance(value, list | tuple):
            return [self.clean(inner) for inner in value]
        return value


def _without_formatted(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Another handler's formatter leaves these on the record, where they look like the caller's `extra`."""
    event.pop("message", None)
    event.pop("asctime", None)
    return event


def configure_logging(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["text", "json"] = "text",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Sets up the root logger and structlog for the process; calling it again replaces what it did before.

    `secrets` should hold every key and token of the configuration. Colours are for terminals."""
    stream = stream or sys.stderr
    redactor = Redactor(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _without_formatted,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if format == "json":
        # The traceback becomes text before the secrets are taken out: an exception's message may hold one.
        last += [structlog.processors.format_exc_info, redactor, structlog.processors.JSONRenderer(default=str)]
    else:
        colors = stream.isatty()
        last += [structlog.processors.format_exc_info, redactor, structlog.dev.ConsoleRenderer(colors=colors)]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    for old in list(root.handlers):
        if getattr(old, "_aegis", False):
            root.removeHandler(old)
    handler._aegis = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level.upper())))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
