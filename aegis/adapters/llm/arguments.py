"""A tool call's arguments as models write them: text that should be a JSON object, and often is not."""

from __future__ import annotations

import json
from typing import Any

CUT = "the answer reached its token limit in the middle of these arguments; send less at once"


def read_arguments(text: str) -> tuple[dict[str, Any], str]:
    """The arguments, or {} and why they could not be read."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        return {}, f"the arguments are no JSON: {error}"
    if not isinstance(value, dict):
        return {}, f"the arguments are a JSON {type(value).__name__}, wanted an object"
    return value, ""
