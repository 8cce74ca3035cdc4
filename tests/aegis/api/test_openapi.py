from __future__ import annotations

import re

import aiohttp

from aegis.api.app import ROUTES
from aegis.api.openapi import describe


async def test_the_description_is_served_and_names_every_route(anonymous: aiohttp.ClientSession) -> None:
    async with anonymous.get("/openapi.json") as answer:
        document = await answer.json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, re.sub(r"\{(\w+):.*\}", r"{\1}", route.path)) for route in ROUTES}


def test_every_reference_leads_somewhere() -> None:
    document = describe(ROUTES, "1")
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    references = set(re.findall(r"'\$ref': '([^']+)'", repr(document)))
    assert references
    assert references <= known


def test_operations_have_distinct_names() -> None:
    names = [route.operation_id for route in ROUTES]
    assert len(names) == len(set(names))
