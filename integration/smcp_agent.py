"""An agent that calls tools itself, by SMCP, from docs/smcp.md alone: it runs in a container, on the standard library.

Nothing of the product is used, nor of its libraries: Ed25519 is RFC 8032's own description of it, and canonical JSON
what `json.dumps` writes of values without fractions whose keys are ASCII. Prints a line for each thing it learned.
"""

import base64
import hashlib
import json
import os
import time
import urllib.error
import urllib.request

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def added(a, b):
    """Points in extended coordinates, RFC 8032 section 5.1.4."""
    left, right = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiplied(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = added(result, point)
        point, scalar = added(point, point), scalar >> 1
    return result


def base_point():
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if x & 1:
        x = P - x
    return (x, y, 1, x * y % P)


def packed(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = base_point()
SEED = hashlib.sha512(os.urandom(32)).digest()
SCALAR = int.from_bytes(SEED[:32], "little") & (2**254 - 8) | 2**254
PUBLIC = packed(multiplied(SCALAR, BASE))


def number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER


def signature(message):
    r = number(SEED[32:], message)
    point = packed(multiplied(r, BASE))
    s = (r + number(point, PUBLIC, message) * SCALAR) % ORDER
    return encoded(point + s.to_bytes(32, "little"))


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def post(route, message, token):
    request = urllib.request.Request(
        os.environ["AEGIS_ORCHESTRATOR_URL"] + "/v1/smcp/" + route,
        json.dumps(message).encode(),
        {"Authorization": "Bearer " + token},
    )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return json.load(error)


def attested():
    proof = {
        "protocol": "smcp/v1",
        "execution_id": os.environ["AEGIS_EXECUTION_ID"],
        "iteration_number": int(os.environ["AEGIS_ITERATION"]),
        "public_key": encoded(PUBLIC),
        "timestamp": int(time.time()),
    }
    answer = post("attest", {**proof, "signature": signature(canonical(proof))}, os.environ["AEGIS_SMCP_TOKEN"])
    return answer["security_token"]


def envelope(token, name, **arguments):
    payload = {
        "jsonrpc": "2.0",
        "id": encoded(os.urandom(16)),
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }
    timestamp = int(time.time())
    signed = canonical({"payload": payload, "timestamp": timestamp})
    return {
        "protocol": "smcp/v1",
        "security_token": token,
        "timestamp": timestamp,
        "payload": payload,
        "signature": signature(signed),
    }


def told(answer):
    """The text of a result, or a problem's code."""
    return answer["result"]["content"][0]["text"] if "result" in answer else answer["code"]


def main():
    token = attested()
    first = envelope(token, "fs.read", path="/workspace/note.txt")
    print("read:", told(post("invoke", first, token)))
    print("again:", told(post("invoke", first, token)))
    print("write:", told(post("invoke", envelope(token, "fs.write", path="/workspace/secret", content="x"), token)))
    tampered = envelope(token, "fs.read", path="/workspace/note.txt")
    tampered["payload"]["params"]["name"] = "fs.list"
    print("tampered:", told(post("invoke", tampered, token)))
    print("dispatch token here:", "AEGIS_DISPATCH_TOKEN" in os.environ)


if __name__ == "__main__":
    main()
