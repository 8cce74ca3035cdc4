"""Judging an iteration: the validators, and the process in which untrusted patterns run."""

from __future__ import annotations

from aegis.services.judging.validators import Panel

__all__ = ["Panel"]
