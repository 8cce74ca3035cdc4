"""What goes wrong around a measurement, said to the person who started it."""

from __future__ import annotations


class BenchError(Exception):
    """The measurement cannot be made; the message says why and what to do."""
