"""The node's signing keys: what they sign, how they are kept, and that openssl and node agree about Ed25519."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aegis.adapters.signing import DIRECTORY_NAME, KEYS_MAX, ROTATE_SECONDS, BadKeyFile, SigningKeys
from aegis.domain.smcp import Attestation, Envelope, decode_bytes
from aegis.errors import Unauthorized
from tests.support.clock import FakeClock
from tests.support.smcp_vectors import DIRECTORY

VECTORS = json.loads((DIRECTORY / "signed.json").read_text())
SIGNED = [*VECTORS["attestations"], *VECTORS["envelopes"]]
OPENSSL, NODE = shutil.which("openssl"), shutil.which("node")
SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410 section 4: what stands before an Ed25519 key's 32 bytes
PURPOSE = "smcp+jwt"
VERIFY_IN_NODE = """
const {createPublicKey, verify} = require("crypto");
const answers = JSON.parse(require("fs").readFileSync(0, "utf8")).map(({public_key, signed, signature}) => verify(null,
  Buffer.from(signed, "utf8"), createPublicKey({key: {kty: "OKP", crv: "Ed25519", x: public_key}, format: "jwk"}),
  Buffer.from(signature, "base64url")));
process.stdout.write(JSON.stringify(answers));
"""


def keys(directory: Path, clock: FakeClock | None = None) -> SigningKeys:
    return SigningKeys(directory, clock or FakeClock())


def claims(clock: FakeClock, seconds: int = 60) -> dict[str, Any]:
    now = int(clock.now().timestamp())
    return {"sub": "e", "scp": "default", "wid": "e/1", "iat": now, "exp": now + seconds, "jti": "j"}


# ---- the vectors ----


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["name"])
def test_the_vectors_signatures_are_what_they_say(case: dict[str, Any], tmp_path: Path) -> None:
    document = {key: value for key, value in case["document"].items() if key != "protocol"}
    kind = Envelope if "payload" in document else Attestation
    assert kind(**document).signed() == case["signed"].encode()
    key, signature = decode_bytes(case["public_key"], 32), decode_bytes(case["signature"], 64)
    assert keys(tmp_path).verified(key, signature, case["signed"].encode()) is case["valid"]


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not on this machine")
@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["name"])
def test_openssl_says_the_same(case: dict[str, Any], tmp_path: Path) -> None:
    pem = base64.b64encode(SPKI + decode_bytes(case["public_key"], 32)).decode()
    (tmp_path / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n")
    (tmp_path / "message").write_bytes(case["signed"].encode())
    (tmp_path / "signature").write_bytes(decode_bytes(case["signature"], 64))
    names = ["-pubin", "-inkey", "key.pem", "-rawin", "-in", "message", "-sigfile", "signature"]
    done = subprocess.run([str(OPENSSL), "pkeyutl", "-verify", *names], cwd=tmp_path, capture_output=True)
    assert (done.returncode == 0) is case["valid"], done.stdout + done.stderr


@pytest.mark.skipif(NODE is None, reason="node is not on this machine")
def test_node_says_the_same() -> None:
    done = subprocess.run([str(NODE), "-e", VERIFY_IN_NODE], input=json.dumps(SIGNED).encode(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [case["valid"] for case in SIGNED]


# ---- tokens ----


def test_a_token_says_what_was_put_into_it_and_which_key_signed_it(tmp_path: Path) -> None:
    clock = FakeClock()
    signer = keys(tmp_path, clock)
    token = signer.issue(PURPOSE, claims(clock))
    assert signer.claims(PURPOSE, token) == claims(clock)
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["typ"]) == ("EdDSA", PURPOSE)
    [path] = (tmp_path / DIRECTORY_NAME).iterdir()
    assert header["kid"] in path.name


async def test_a_token_is_valid_for_its_time_and_its_purpose_only(tmp_path: Path) -> None:
    clock = FakeClock()
    signer = keys(tmp_path, clock)
    token = signer.issue(PURPOSE, claims(clock, seconds=60))
    await clock.advance(59)
    signer.claims(PURPOSE, token)
    with pytest.raises(Unauthorized):
        signer.claims("smcp-attest+jwt", token)
    await clock.advance(1)
    with pytest.raises(Unauthorized):
        signer.claims(PURPOSE, token)
    future = signer.issue(PURPOSE, {**claims(clock), "iat": int(clock.now().timestamp()) + 5})
    with pytest.raises(Unauthorized):
        signer.claims(PURPOSE, future)


def test_what_is_no_token_of_ours_is_refused_without_a_word_about_why(tmp_path: Path) -> None:
    clock = FakeClock()
    signer, token = keys(tmp_path, clock), keys(tmp_path, clock).issue(PURPOSE, claims(clock))
    header, payload, signature = token.split(".")
    kid = jwt.get_unverified_header(token)["kid"]
    stranger = Ed25519PrivateKey.generate()
    made = {"kid": kid, "typ": PURPOSE}
    wrong = [
        "",
        "a.b.c",
        "ü",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        jwt.encode(claims(clock), stranger, algorithm="EdDSA", headers=made),
        jwt.encode(claims(clock), None, algorithm="none", headers=made),
        jwt.encode(claims(clock), "secret" * 8, algorithm="HS256", headers=made),
        signer.issue(PURPOSE, {**claims(clock), "kid": "other"}).replace(
            header, jwt.encode({}, stranger, algorithm="EdDSA").split(".")[0]
        ),
        signer.issue(PURPOSE, {key: value for key, value in claims(clock).items() if key != "jti"}),
        "a" * 5000,
    ]
    for each in wrong:
        with pytest.raises(Unauthorized) as caught:
            signer.claims(PURPOSE, each)
        assert str(caught.value) == "This token is not valid here"


# ---- keys ----


def test_keys_are_kept_where_only_the_daemons_user_reads_them_and_found_again(tmp_path: Path) -> None:
    clock = FakeClock()
    token = keys(tmp_path, clock).issue(PURPOSE, claims(clock))
    directory = tmp_path / DIRECTORY_NAME
    [path] = directory.iterdir()
    assert (directory.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    assert keys(tmp_path, clock).claims(PURPOSE, token)["sub"] == "e"
    path.unlink()
    with pytest.raises(Unauthorized):
        keys(tmp_path, clock).claims(PURPOSE, token)


def test_a_rotated_key_still_verifies_until_it_is_forgotten(tmp_path: Path) -> None:
    clock = FakeClock()
    signer = keys(tmp_path, clock)
    first = signer.issue(PURPOSE, claims(clock))
    for _ in range(KEYS_MAX - 1):
        signer.rotate()
        assert signer.claims(PURPOSE, first)["sub"] == "e"
    assert (
        jwt.get_unverified_header(signer.issue(PURPOSE, claims(clock)))["kid"]
        != jwt.get_unverified_header(first)["kid"]
    )
    signer.rotate()
    with pytest.raises(Unauthorized):
        signer.claims(PURPOSE, first)
    assert len(list((tmp_path / DIRECTORY_NAME).iterdir())) == KEYS_MAX


async def test_an_old_key_is_rotated_by_itself(tmp_path: Path) -> None:
    clock = FakeClock()
    signer = keys(tmp_path, clock)
    first = signer.issue(PURPOSE, claims(clock))
    await clock.advance(ROTATE_SECONDS)
    second = signer.issue(PURPOSE, claims(clock))
    assert jwt.get_unverified_header(first)["kid"] != jwt.get_unverified_header(second)["kid"]
    assert signer.claims(PURPOSE, second) == keys(tmp_path, clock).claims(PURPOSE, second)


def test_a_key_that_others_can_read_or_that_is_none_is_refused_with_what_to_do(tmp_path: Path) -> None:
    keys(tmp_path)
    [path] = (tmp_path / DIRECTORY_NAME).iterdir()
    path.chmod(0o640)
    with pytest.raises(BadKeyFile, match=r"0640\). Delete it"):
        keys(tmp_path)
    path.chmod(0o600)
    path.write_text("nothing")
    with pytest.raises(BadKeyFile, match="holds no signing key"):
        keys(tmp_path)
    rsa = (
        subprocess.run([str(OPENSSL), "genpkey", "-algorithm", "X25519"], capture_output=True).stdout
        if OPENSSL
        else b""
    )
    if rsa:
        path.write_bytes(rsa)
        with pytest.raises(BadKeyFile, match="holds no Ed25519 key"):
            keys(tmp_path)
