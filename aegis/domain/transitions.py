"""State machines as tables: `{(state, event): state}`. What is not in the table cannot happen."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

State = TypeVar("State", bound=StrEnum)
Happening = TypeVar("Happening", bound=StrEnum)


class InvalidTransition(ValueError):
    """The table has no way from this state by this event."""


def follow(table: Mapping[tuple[State, Happening], State], state: State, event: Happening) -> State:
    """The state after `event`. InvalidTransition names the events that were possible."""
    try:
        return table[state, event]
    except KeyError:
        possible = ", ".join(other.value for at, other in table if at == state) or "nothing any more"
        raise InvalidTransition(
            f"{type(state).__name__} {state.value} knows no {event.value}; possible here: {possible}"
        ) from None
