"""Which hosts a list of them means: one matching of host names for tools, the proxy and the security contexts.

A pattern is what manifests and the configuration take: a name (`api.example.org`: that name alone), `*.example.org`
(every name below it, at any depth, and not `example.org` itself), an address, or a network (`10.0.0.0/8`).

The rules to know: everything is compared in one normal form, and what has none (`0x7f.1`, a name with a space) is a
ValueError and never an answer, because resolvers read it otherwise than we do. A name is matched as a name: what it
resolves to is a second question, to be asked by whoever connects, with the address in place of the name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aegis.domain.manifest import NetworkMode, NetworkPolicy

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOST_CHARACTERS_MAX = 253  # RFC 1035 section 2.3.4, without the last dot
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label: an IPv4 address to inet_aton(3) and to browsers


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether it is allowed, and the rule that decided, in words for the event and for the model."""

    allowed: bool
    rule: str


def normal_host(host: str) -> str:
    """The form hosts are compared in: lower case, no last dot, an international name as its A-labels, an address in its
    canonical form without brackets, an IPv4 address that IPv6 wraps unwrapped. ValueError says why it has none."""
    text = host.strip().lower()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    address = _address(text)
    if address is not None:
        return str(address)
    text = text.removesuffix(".")
    if not text.isascii():
        try:
            text = text.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"{host!r:.100} is no host name: {error}") from None
    labels = text.split(".")
    if len(text) > HOST_CHARACTERS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{host!r:.100} is no host name")
    if _NUMERIC.fullmatch(labels[-1]):
        raise ValueError(f"{host!r:.100} is an address in an unusual form: write it as a.b.c.d")
    return text


def url_host(url: str) -> str:
    """The host of an absolute URL, in its normal form. ValueError when there is none to be sure of: one URL library
    reads `http://a\\@b/` as host a and another as host b."""
    if re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise ValueError(f"{url!r:.200} is no URL: it has spaces, backslashes or control characters in it")
    parts = urlsplit(url)
    if not parts.scheme or not parts.hostname:
        raise ValueError(f"{url!r:.200} names no host")
    return normal_host(parts.hostname)


def host_matches(pattern: str, host: str) -> bool:
    """`host` in its normal form (`normal_host`)."""
    if "/" in pattern:
        address = _address(host)
        network = ipaddress.ip_network(pattern, strict=False)
        return address is not None and address.version == network.version and address in network
    if pattern.startswith("*."):
        return _address(host) is None and host.endswith(normal_host(pattern[2:]).join((".", "")))
    return normal_host(pattern) == host


def first_match(patterns: Iterable[str], host: str) -> str | None:
    """The pattern that means this host; `host` in its normal form."""
    return next((pattern for pattern in patterns if host_matches(pattern, host)), None)


def network_ruling(policy: NetworkPolicy, host: str) -> Ruling:
    """What an execution's own network policy says of a host in its normal form. What `denylist` names is refused in
    every mode; `allow` allows what `allowlist` names and nothing else, `deny` the rest, `none` nothing."""
    if policy.mode is NetworkMode.NONE:
        return Ruling(False, "security.network: mode none")
    denied = first_match(policy.denylist, host)
    if denied is not None:
        return Ruling(False, f"security.network.denylist: {denied}")
    if policy.mode is NetworkMode.DENY:
        return Ruling(True, "security.network: not on the denylist")
    allowed = first_match(policy.allowlist, host)
    if allowed is None:
        return Ruling(False, f"security.network.allowlist: {', '.join(policy.allowlist) or 'empty'}")
    return Ruling(True, f"security.network.allowlist: {allowed}")


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
