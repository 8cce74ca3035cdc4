from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from aegis.logs import HIDDEN, Redactor, configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    level = root.level
    yield io.StringIO()
    for handler in list(root.handlers):
        if getattr(handler, "_aegis", False):
            root.removeHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_has_one_object_a_line_from_both_libraries(stream: io.StringIO) -> None:
    configure_logging(format="json", stream=stream)
    logging.getLogger("some.library").warning("plain %s", "text")
    structlog.get_logger("aegis.x").info("started", port=2049)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["level"], first["logger"]) == ("plain text", "warning", "some.library")
    assert (second["event"], second["port"]) == ("started", 2049)
    assert second["timestamp"].endswith("Z")


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_secret_reaches_the_log_by_any_way(stream: io.StringIO, format: str) -> None:
    configure_logging(format=format, secrets=["hunter2hunter2"], stream=stream)  # type: ignore[arg-type]
    log = structlog.get_logger()
    log.warning(
        "the key is hunter2hunter2",
        api_key="hunter2hunter2",
        nested={"dispatch_token": "abc", "list": ["hunter2hunter2"]},
    )
    log.warning("postgresql://aegis:hunter2@db/x", headers="Authorization: Bearer hunter2-hunter2")
    try:
        raise ValueError("hunter2hunter2 was wrong")
    except ValueError:
        logging.getLogger("x").exception("oops %s", "hunter2hunter2")
    assert "hunter2" not in stream.getvalue()
    assert "abc" not in stream.getvalue()
    assert stream.getvalue().count(HIDDEN) >= 7


def test_what_only_looks_like_a_secret_stays() -> None:
    event = {"input_tokens": 12, "token_hash": "x", "url": "http://host:80/a@b", "key": "k"}
    assert Redactor(["ab"])(None, "", event) == event


def test_level_and_repetition(stream: io.StringIO) -> None:
    configure_logging(level="warning", stream=stream)
    configure_logging(level="warning", stream=stream)
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    assert stream.getvalue().count("loud") == 1
    assert "quiet" not in stream.getvalue()
