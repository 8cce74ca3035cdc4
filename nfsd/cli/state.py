"""What the standalone server keeps between two runs: the secret that signs its handles."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

SECRET_BYTES = 32
_FILE_NAME = "handle-secret"


class StateError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


def default_state_directory() -> Path:
    """XDG Base Directory: $XDG_STATE_HOME, by default ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "nfsd"


def handle_secret(directory: Path) -> bytes:
    """The secret in `directory`, made when there is none: readable by us alone, and never half-written.

    StateError when the directory cannot be used, or when others can read the secret: handles it signed are then
    anyone's.
    """
    path = directory / _FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise StateError(f"{path} can be read by others, so its handles prove nothing: chmod 600 it, or remove it")
        secret = path.read_bytes()
    except OSError as error:
        raise StateError(
            f"the state directory {directory} cannot be used ({error}); give another with --state-dir"
        ) from error
    if len(secret) != SECRET_BYTES:
        raise StateError(f"{path} has {len(secret)} bytes, wanted {SECRET_BYTES}: remove it (mounts will be stale)")
    return secret


def _create(path: Path) -> None:
    """Whole or not at all, also when two servers start at once: the first one's file stays."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, secrets.token_bytes(SECRET_BYTES))
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
