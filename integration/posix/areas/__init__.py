"""The claims themselves, one module an area."""

from __future__ import annotations

import importlib
import pkgutil


def load() -> None:
    """Import every area, which is what puts its claims on the list."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
        importlib.import_module(f"{__name__}.{module.name}")
