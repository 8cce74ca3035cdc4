"""`/v1/smcp`: tool calls by processes in a container, signed (docs/smcp.md). On the listener that containers reach too.

Both routes need a token before a byte of the body is read; what counts as one is decided in `aegis.services.smcp`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from aegis.api.auth import Access, ExecutionOver, authorise_dispatch, bearer
from aegis.api.context import context_of
from aegis.api.problems import InvalidRequest, from_validation
from aegis.api.routing import Route, read_body, read_model
from aegis.api.views import GrantView
from aegis.api.wire import ATTEST_BYTES_MAX, ENVELOPE_BYTES_MAX, AttestMessage, EnvelopeMessage
from aegis.domain.canonical import parse_json
from aegis.domain.execution import FINAL_STATES, Execution
from aegis.domain.smcp import PROTOCOL, Attestation, Envelope
from aegis.errors import Refused, Unauthorized


class UnknownProtocol(Refused):
    code = "smcp_protocol"
    status = 400


async def smcp_attest(request: web.Request) -> web.Response:
    """A public key in, a short-lived token for it out."""
    context = context_of(request)
    if not bearer(request):
        raise Unauthorized(
            "This needs the execution's dispatch token or an attest token", next_step="It is in AEGIS_SMCP_TOKEN"
        )
    message = await read_model(request, AttestMessage, ATTEST_BYTES_MAX)
    execution = await _authorised(request, message)
    _known(message.protocol)
    attestation = Attestation(**message.model_dump(exclude={"protocol"}))
    grant = context.tool_calls.attest(execution, attestation)
    view = GrantView.of(grant, execution.manifest.security_context)
    return web.Response(body=view.model_dump_json().encode(), content_type="application/json")


async def smcp_invoke(request: web.Request) -> web.Response:
    """The tool's result as MCP has it. A denial is a result; what is wrong with the envelope is a problem."""
    context = context_of(request)
    grant = context.tool_calls.grant_of(bearer(request))
    message = _envelope(await read_body(request, ENVELOPE_BYTES_MAX))
    _known(message.protocol)
    answer = await context.tool_calls.invoke(grant, Envelope(**message.model_dump(exclude={"protocol"})))
    return _answer(answer)


async def _authorised(request: web.Request, message: AttestMessage) -> Execution:
    """An attest token of this iteration, else the execution's own."""
    context = context_of(request)
    if not context.tool_calls.may_attest(bearer(request), message.execution_id, message.iteration_number):
        return await authorise_dispatch(request, context.store, message.execution_id)
    execution = await context.store.get_execution(message.execution_id)
    if execution.state in FINAL_STATES:
        raise ExecutionOver(f"Execution {execution.id} is {execution.state}")
    return execution


def _envelope(body: bytes) -> EnvelopeMessage:
    """Read as what was signed: by the same rules as canonical JSON, so that nothing in it means two things."""
    try:
        return EnvelopeMessage.model_validate(parse_json(body))
    except ValidationError as error:
        raise from_validation(error, "envelope") from None
    except ValueError as error:
        raise InvalidRequest(f"The envelope is no JSON to be sure of: {error}", next_step="See docs/smcp.md") from None


def _known(protocol: str) -> None:
    if protocol != PROTOCOL:
        raise UnknownProtocol(f"The protocol is {protocol!r}, this node speaks {PROTOCOL}")


def _answer(reply: Mapping[str, Any]) -> web.Response:
    return web.Response(body=json.dumps(reply).encode("ascii"), content_type="application/json")


ROUTES = (
    Route(
        method="POST",
        path="/v1/smcp/attest",
        handler=smcp_attest,
        access=Access.SMCP,
        summary="Show the key that tool calls will be signed with",
        request=AttestMessage,
        response=GrantView,
    ),
    Route(
        method="POST",
        path="/v1/smcp/invoke",
        handler=smcp_invoke,
        access=Access.SMCP,
        summary="Call a tool, or list those that may be called, by a signed envelope",
        request=EnvelopeMessage,
    ),
)
