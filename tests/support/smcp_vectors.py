"""The vectors of docs/smcp.md, for implementations in other languages: `python -m tests.support.smcp_vectors` writes
them anew, a test holds the files to it, and other tests have them confirmed by openssl and node.

The keys are made of known seeds; the first is RFC 8032's own (section 7.1, TEST 1).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aegis.domain.canonical import canonical_json, parse_json
from aegis.domain.smcp import PROTOCOL, Attestation, Envelope, encode_bytes

DIRECTORY = Path(__file__).resolve().parents[1] / "vectors" / "smcp"
SEEDS = {
    "alice": "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "bob": "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
}
EXECUTION = "0b9f7c1e-52f5-4f0e-9d2a-6c3a3f2d1e00"
TIMESTAMP = 1_767_225_600
TOKEN = "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"  # what stands here is not signed

CANONICAL = {
    "empty object": "{}",
    "empty array": " [ ] ",
    "empty string": '""',
    "literals": "[null, true, false]",
    "keys are sorted, nested ones too": '{"b": {"d": 1, "c": 2}, "a": [{"z": 1, "y": 2}]}',
    "keys that are numbers sort as text": '{"10": 1, "9": 2, "": 3}',
    "capitals before small letters": '{"a": 1, "B": 2, "_": 3}',
    "keys sort by UTF-16 code units": '{"\\ufb33": 1, "\\ud83d\\ude00": 2, "\\u20ac": 3, "1": 4}',
    "unicode is not escaped": '"gr\\u00fc\\u00dfe \\u4f60\\u597d \\ud83d\\ude00"',
    "only what has to be is escaped": '"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f\\u2028 \\" \\\\ \\/"',
    "composed and decomposed letters are different": '["\\u00e9", "e\\u0301"]',
    "integers": "[0, -0, 7, -7, 9007199254740991, -9007199254740991]",
    "numbers that are whole are written as such": "[1.0, 1e3, 100.00, -0.0, 1E+2]",
    "fractions": "[0.1, 1.5, -2.25, 0.000001, 123456.789]",
    "small and large numbers": "[1e-7, 1.5e-10, 1e20, 1e21, 1.7976931348623157e308, 5e-324]",
    "whole numbers that are doubles": "[9007199254740992, 1.2345678901234567e20, 100000000000000000000]",
    "a call of a tool": '{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"name":"fs.read",'
    '"arguments":{"path":"/workspace/a"}}}',
}
REFUSED = {
    "a key twice": '{"a": 1, "a": 2}',
    "a key twice, written differently": '{"a": 1, "\\u0061": 2}',
    "a whole number that a double changes": "9007199254740993",
    "a long one": "123456789012345678901234567890",
    "a number beyond a double": "1e400",
    "half a surrogate pair": '"\\ud83d"',
    "not a number": "[NaN]",
    "infinity": "[-Infinity]",
    "nested too deep": "[" * 100 + "]" * 100,
    "no JSON": "{'a': 1}",
    "more than one value": "1 2",
}
PAYLOADS = {
    "list the tools": {"jsonrpc": "2.0", "id": "b7a3", "method": "tools/list"},
    "read a file": {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "fs.read", "arguments": {"path": "/workspace/notes.txt"}},
    },
    "write unicode": {
        "jsonrpc": "2.0", "id": "ü", "method": "tools/call",
        "params": {"name": "fs.write", "arguments": {"path": "grüße.txt", "content": "😀\n\"\\\u2028"}},
    },
    "nested arguments with numbers": {
        "jsonrpc": "2.0", "id": "n", "method": "tools/call",
        "params": {"name": "any.tool", "arguments": {"b": [1, 2.5, {"z": None, "a": True}], "a": {}, "": 1e-7}},
    },
}  # fmt: skip


def canonical_vectors() -> Any:
    return {
        "about": "RFC 8785: `json` is read and written canonically, as `canonical`; `refused` has no canonical form.",
        "canonical": [
            {"name": name, "json": text, "canonical": canonical_json(parse_json(text.encode())).decode()}
            for name, text in CANONICAL.items()
        ],
        "refused": [{"name": name, "json": text} for name, text in REFUSED.items()],
    }


def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEEDS[name]))


def public(name: str) -> str:
    return encode_bytes(key(name).public_key().public_bytes_raw())


def _attestation(by: str, **changes: Any) -> Attestation:
    plain = {"execution_id": EXECUTION, "iteration_number": 1, "public_key": public(by), "timestamp": TIMESTAMP}
    unsigned = Attestation(**{**plain, **changes}, signature="")  # type: ignore[arg-type]
    return Attestation(**{**plain, **changes}, signature=encode_bytes(key(by).sign(unsigned.signed())))  # type: ignore[arg-type]


def _envelope(by: str, payload: dict[str, Any], timestamp: int = TIMESTAMP) -> Envelope:
    signed = Envelope("", timestamp, payload, "").signed()
    return Envelope(TOKEN, timestamp, payload, encode_bytes(key(by).sign(signed)))


def _vector(name: str, signer: str, message: bytes, signature: str, document: Any, valid: bool) -> Any:
    return {
        "name": name,
        "public_key": public(signer),
        "document": document,
        "signed": message.decode(),
        "signature": signature,
        "valid": valid,
    }


def _attestation_vector(name: str, shown: Attestation, signer: str, valid: bool) -> Any:
    document = {"protocol": PROTOCOL, **{field: getattr(shown, field) for field in shown.__slots__}}
    return _vector(name, signer, shown.signed(), shown.signature, document, valid)


def _envelope_vector(name: str, sent: Envelope, signer: str, valid: bool) -> Any:
    document = {"protocol": PROTOCOL, **{field: getattr(sent, field) for field in sent.__slots__}}
    return _vector(name, signer, sent.signed(), sent.signature, document, valid)


def signed_vectors() -> Any:
    read = PAYLOADS["read a file"]
    good = _envelope("alice", read)
    other_path = json.loads(json.dumps(read).replace("notes.txt", "notes.txt2"))
    flipped = bytearray(key("alice").sign(good.signed()))
    flipped[0] ^= 1
    shown = _attestation("alice")
    return {
        "about": "`signed` is what the signature covers; the private keys are their seeds, in hexadecimal.",
        "keys": {name: {"private_key": seed, "public_key": public(name)} for name, seed in SEEDS.items()},
        "attestations": [
            _attestation_vector("an attestation", shown, "alice", True),
            _attestation_vector("another iteration", _changed(shown, iteration_number=2), "alice", False),
            _attestation_vector("somebody else's key", _changed(shown, public_key=public("bob")), "bob", False),
        ],
        "envelopes": [
            *(_envelope_vector(name, _envelope("alice", payload), "alice", True) for name, payload in PAYLOADS.items()),
            _envelope_vector("another second", _changed(good, timestamp=TIMESTAMP + 1), "alice", False),
            _envelope_vector("another argument", _changed(good, payload=other_path), "alice", False),
            _envelope_vector("another key", _envelope("bob", read), "alice", False),
            _envelope_vector(
                "one bit of the signature", _changed(good, signature=encode_bytes(flipped)), "alice", False
            ),
        ],
    }


def _changed(value: Any, **changes: Any) -> Any:
    return type(value)(**{**{field: getattr(value, field) for field in value.__slots__}, **changes})


FILES = {"canonical.json": canonical_vectors, "signed.json": signed_vectors}


def text(name: str) -> str:
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    for name in FILES:
        (DIRECTORY / name).write_text(text(name), encoding="ascii")
