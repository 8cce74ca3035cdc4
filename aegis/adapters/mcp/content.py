"""What a call brought, as text for a model: text as it is, structure as JSON, of the rest what it is."""

from __future__ import annotations

import json
from typing import Final

from mcp import types

TEXT_CHARACTERS_MAX: Final = 200_000  # of one result; the tool box shortens it further, keeping both ends


def text_of(result: types.CallToolResult) -> str:
    parts = [_block(block) for block in result.content]
    if result.structuredContent is not None:
        structure = json.dumps(result.structuredContent, ensure_ascii=False)
        if not any(_same(part, result.structuredContent) for part in parts):  # servers say it as text, too
            parts.append(structure)
    text = "\n".join(part for part in parts if part)
    return text[:TEXT_CHARACTERS_MAX]


def _same(part: str, structure: object) -> bool:
    """Whether the text says it already: as the same JSON, or as the only value of a wrapper (`{"result": 42}`)."""
    values = [structure, *structure.values()] if isinstance(structure, dict) and len(structure) == 1 else [structure]
    try:
        said = json.loads(part)
    except (ValueError, RecursionError):
        said = part
    return any(value in (said, part) for value in values)


def _block(block: types.ContentBlock) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ImageContent | types.AudioContent):
        return f"[{block.type}, {block.mimeType}, {_bytes(block.data)} bytes: not shown]"
    if isinstance(block, types.ResourceLink):
        return f"[link to {block.uri}: {block.description or block.name}]"
    resource = block.resource
    if isinstance(resource, types.TextResourceContents):
        return f"[{resource.uri}]\n{resource.text}"
    return f"[{resource.uri}, {resource.mimeType or 'binary'}, {_bytes(resource.blob)} bytes: not shown]"


def _bytes(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")
