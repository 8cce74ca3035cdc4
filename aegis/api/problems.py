"""Errors as `application/problem+json` (RFC 9457): the one place where an exception becomes an HTTP answer.

Members beside the standard ones: `code` (stable, what programs decide by), `next_step` (what a person can do),
`retryable` (whether the same request may succeed later unchanged) and `problems` (each fault of a document or body).
Whatever is not an `AegisError` or an aiohttp answer is a fault of ours: logged with its traceback, told as `internal`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from aegis.errors import AegisError, Overloaded, Refused, WorldError

CONTENT_TYPE = "application/problem+json"
PROBLEMS_MAX = 100
RETRY_AFTER_SECONDS = 2

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class InvalidRequest(Refused):
    """The body or the query is not what the route takes; `problems` names every fault with its place."""

    code = "invalid_request"
    status = 400

    def __init__(self, message: str, *, problems: Iterable[Mapping[str, Any]] = (), next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.problems = [dict(problem) for problem in problems]


class TooLarge(Refused):
    code = "too_large"
    status = 413


class BodyTimeout(Refused):
    """The body came too slowly; 408 and not 400, so that a container's bootstrap sends it again."""

    code = "body_timeout"
    status = 408


class NoSuchRoute(Refused):
    code = "no_such_route"
    status = 404


class MethodNotAllowed(Refused):
    code = "method_not_allowed"
    status = 405


def from_validation(error: ValidationError, what: str) -> InvalidRequest:
    """Every fault pydantic found, by its path in the body; an unknown field is named."""
    problems = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:PROBLEMS_MAX]:
        path = ".".join(str(part) for part in fault["loc"])
        unknown = fault["type"] == "extra_forbidden"
        problems.append({"path": path, "found": "unknown field" if unknown else "", "wanted": fault["msg"]})
    names = ", ".join(problem["path"] or "(the whole)" for problem in problems)
    return InvalidRequest(f"The {what} is not valid: {names}", problems=problems, next_step="See /openapi.json")


def problem_document(error: AegisError) -> dict[str, Any]:
    """The body of the answer. `problems` of a document error (line, column, path, found, wanted) are passed on."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "next_step": error.next_step,
    }
    if isinstance(error, WorldError):
        document["retryable"] = error.retryable
    problems = getattr(error, "problems", None)
    if problems:
        document["problems"] = [_plain(problem) for problem in list(problems)[:PROBLEMS_MAX]]
    return document


def _plain(problem: object) -> dict[str, Any]:
    """A problem that knows its JSON form gives that: what it leaves out (a secret's line) is left out on purpose."""
    as_json = getattr(problem, "as_json", None)
    if as_json is not None:
        return dict(as_json())
    if isinstance(problem, Mapping):
        return dict(problem)
    if dataclasses.is_dataclass(problem) and not isinstance(problem, type):
        return dataclasses.asdict(problem)
    return {"detail": str(problem)}


def problem_response(error: AegisError) -> web.Response:
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Overloaded) or (isinstance(error, WorldError) and error.retryable):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    body = json.dumps(problem_document(error), default=str).encode("ascii")
    return web.Response(status=error.status, body=body, content_type=CONTENT_TYPE, headers=headers)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost boundary of the API. After a stream has begun there is no answer left to give: the error ends the
    connection, which the peer sees as a cut."""
    try:
        return await handler(request)
    except AegisError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("%s %s: %s", request.method, request.path, error)
        return problem_response(error)
    except web.HTTPException as answer:
        if answer.status < HTTPStatus.BAD_REQUEST:
            raise
        return problem_response(_from_http(request, answer))
    except Exception:
        log.exception("%s %s: a fault of ours", request.method, request.path)
        fault = AegisError(
            "The daemon met an error of its own", next_step="Its log has the traceback; please report it"
        )
        return problem_response(fault)


def _from_http(request: web.Request, answer: web.HTTPException) -> AegisError:
    if isinstance(answer, web.HTTPNotFound):
        return NoSuchRoute(f"There is nothing at {request.path}", next_step="See /openapi.json for what there is")
    if isinstance(answer, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(answer.allowed_methods))
        return MethodNotAllowed(f"{request.path} does not take {request.method}, only {allowed}")
    if isinstance(answer, web.HTTPRequestEntityTooLarge):
        return TooLarge(f"The body sent to {request.path} is too large")
    return InvalidRequest(f"{request.method} {request.path}: {answer.reason}")
