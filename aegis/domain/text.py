"""Texts of unknown length made to fit, always saying that they were."""

from __future__ import annotations


def shorten(text: str, characters_max: int, *, tail_share: float = 0.5) -> str:
    """At most about `characters_max` characters: head and tail are kept, the middle is replaced by a note.

    `tail_share` 0..1 is how much of the room the end gets: errors usually stand there."""
    if len(text) <= characters_max:
        return text
    tail = int(characters_max * tail_share)
    head = characters_max - tail
    left_out = len(text) - characters_max
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[len(text) - tail :]}"
