"""The node's signing keys (Ed25519) and what is signed with them: EdDSA tokens (RFC 7519, RFC 8037).

The keys lie in a directory that only the daemon's user can read, each in a PEM file named by when it was made and by
its id, which a token's header names (`kid`). The newest signs; those before it still verify. After `ROTATE_SECONDS`
the next token is signed with a new one. Deleting the files makes every token void and a new key at the next start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from aegis.errors import Unauthorized, WorldError
from aegis.ports import Clock

DIRECTORY_NAME: Final = "smcp-keys"
ALGORITHM: Final = "EdDSA"
ROTATE_SECONDS: Final = 30 * 24 * 3600.0
KEYS_MAX: Final = 3  # older ones verify nothing any more and are deleted
TOKEN_CHARACTERS_MAX: Final = 4096
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class BadKeyFile(WorldError):
    code = "bad_key_file"
    retryable = False


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    made_at: datetime
    private: Ed25519PrivateKey
    path: Path


class SigningKeys:
    """The `Signer` of the daemon. BadKeyFile when the keys cannot be used or others can read them."""

    def __init__(self, state_directory: Path, clock: Clock) -> None:
        self._directory = state_directory / DIRECTORY_NAME
        self._clock = clock
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._keys = [_read(path) for path in sorted(self._directory.glob("*.pem"))]
        except OSError as error:
            raise BadKeyFile(f"The signing keys in {self._directory} cannot be used: {error}") from error
        if not self._keys:
            self.rotate()

    def rotate(self) -> None:
        """From now on a new key signs."""
        now = self._clock.now().astimezone(UTC).replace(microsecond=0)
        private = Ed25519PrivateKey.generate()
        key_id = sha256(private.public_key().public_bytes_raw()).hexdigest()[:16]
        path = self._directory / f"{now.strftime(_STAMP)}-{key_id}.pem"
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            _write(path, pem)
            for old in self._keys[: -(KEYS_MAX - 1)]:
                old.path.unlink(missing_ok=True)
        except OSError as error:
            raise BadKeyFile(f"A signing key cannot be kept in {self._directory}: {error}") from error
        self._keys = [*self._keys[-(KEYS_MAX - 1) :], _Key(key_id, now, private, path)]

    def issue(self, purpose: str, claims: Mapping[str, Any]) -> str:
        if self._clock.now() - self._keys[-1].made_at >= timedelta(seconds=ROTATE_SECONDS):
            self.rotate()
        key = self._keys[-1]
        return jwt.encode(dict(claims), key.private, algorithm=ALGORITHM, headers={"kid": key.id, "typ": purpose})

    def claims(self, purpose: str, token: str) -> dict[str, Any]:
        """Times are checked by our clock and not by PyJWT, which asks the system's."""
        refused = Unauthorized("This token is not valid here")
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise refused
        try:
            header = jwt.get_unverified_header(token)
            key = next(key for key in self._keys if key.id == header.get("kid"))
            options: Any = {"require": ["sub", "wid", "iat", "exp", "jti"], "verify_exp": False, "verify_iat": False}
            claims: dict[str, Any] = jwt.decode(
                token, key.private.public_key(), algorithms=[ALGORITHM], options=options
            )
        except (jwt.InvalidTokenError, StopIteration, ValueError):
            raise refused from None
        now = self._clock.now().timestamp()
        if header.get("typ") != purpose or not claims["iat"] <= now < claims["exp"]:
            raise refused
        return claims

    def verified(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def _read(path: Path) -> _Key:
    if path.stat().st_mode & 0o077:
        raise BadKeyFile(
            f"{path} can be read by other users (mode {path.stat().st_mode & 0o777:04o})",
            next_step=f"Delete it, the daemon makes a new one: rm {path}",
        )
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        made_at = datetime.strptime(path.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKeyFile(f"{path} holds no signing key: {error}", next_step=f"Delete it: rm {path}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadKeyFile(f"{path} holds no Ed25519 key", next_step=f"Delete it: rm {path}")
    return _Key(sha256(private.public_key().public_bytes_raw()).hexdigest()[:16], made_at, private, path)


def _write(path: Path, content: bytes) -> None:
    """By rename: half a key would keep the next daemon from starting."""
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
