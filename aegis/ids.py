"""Identifiers: what they look like and how new ones are made.

Ids are lower-case UUIDs (version 4), so that they can stand in paths, labels and container names as they are.
Tenant ids are names an operator chooses: they are a path component of every export, hence the narrow alphabet.
"""

from __future__ import annotations

import re
import uuid

DEFAULT_TENANT = "default"
TENANT_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62})")
NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62})")


def new_id() -> str:
    """A fresh random UUID in its usual 36-character form."""
    return str(uuid.uuid4())
