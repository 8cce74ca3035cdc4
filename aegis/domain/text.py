"""Texts of unknown length made to fit, always saying that they were."""

from __future__ import annotations

NOTE_CHARACTERS = 50


def shorten(text: str, characters_max: int, *, tail_share: float = 0.5) -> str:
    """At most `characters_max` characters (where there is room for the note, which is from 100 on): head and tail are
    kept, the middle is replaced by a note. What was shortened once is not shortened again to the same length.

    `tail_share` 0..1 is how much of the room the end gets: errors usually stand there."""
    if len(text) <= characters_max:
        return text
    kept = characters_max - NOTE_CHARACTERS if characters_max >= 2 * NOTE_CHARACTERS else characters_max
    tail = int(kept * tail_share)
    head = kept - tail
    left_out = len(text) - kept
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[len(text) - tail :]}"
