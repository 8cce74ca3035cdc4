"""Which hosts a list of them means: one matching of host names for tools, the proxy and the security contexts.

A pattern is what manifests and the configuration take: a name (`api.example.org`: that name alone), `*.example.org`
(every name below it, at any depth, and not `example.org` itself), an address, or a network (`10.0.0.0/8`). All but a
network may end in a port (`api.example.org:8443`, `[2001:db8::1]:8443`) and then mean that port only.

The rules to know: everything is compared in one normal form, and what has none (`0x7f.1`, a name with a space) is a
ValueError and never an answer, because resolvers read it otherwise than we do. A name is matched as a name: what it
resolves to is a second question, to be asked by whoever connects, with the address in place of the name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aegis.domain.manifest import NetworkMode, NetworkPolicy

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOST_CHARACTERS_MAX = 253  # RFC 1035 section 2.3.4, without the last dot
WEB_PORTS = (80, 443)  # what allowing a host allows of it, unless its pattern names another port
_PORT = re.compile(r"(?P<host>[^:]+|\[[^\]]*\]):(?P<port>[0-9]{1,5})")
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
    address = as_address(text)
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


def url_port(url: str) -> int | None:
    """The port of a URL, its scheme's where it names none; None for a scheme whose port we do not know. ValueError."""
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443, "ws": 80, "wss": 443}.get(parts.scheme.lower())


def split_port(pattern: str) -> tuple[str, int | None]:
    """A pattern without its port, and the port if it has one."""
    match = _PORT.fullmatch(pattern)
    return (match["host"], int(match["port"])) if match else (pattern, None)


def host_matches(pattern: str, host: str) -> bool:
    """`host` in its normal form (`normal_host`). A port of the pattern is another question: `first_match`."""
    pattern, _ = split_port(pattern)
    if "/" in pattern:
        address = as_address(host)
        network = ipaddress.ip_network(pattern, strict=False)
        return address is not None and address.version == network.version and address in network
    if pattern.startswith("*."):
        return as_address(host) is None and host.endswith(normal_host(pattern[2:]).join((".", "")))
    return normal_host(pattern) == host


def first_match(
    patterns: Iterable[str], host: str, port: int | None = None, *, ports: Collection[int] | None = None
) -> str | None:
    """The pattern that means this host and, where the caller knows one, this port; `host` in its normal form. `ports`:
    what a pattern without a port means; None: every port."""
    return next((each for each in patterns if host_matches(each, host) and _port_matches(each, port, ports)), None)


def _port_matches(pattern: str, port: int | None, ports: Collection[int] | None) -> bool:
    if port is None:
        return True
    _, wanted = split_port(pattern)
    if wanted is not None:
        return port == wanted
    return ports is None or port in ports


def network_ruling(
    policy: NetworkPolicy, host: str, port: int | None = None, *, ports: Collection[int] = WEB_PORTS
) -> Ruling:
    """What an execution's own network policy says of a host in its normal form, and of a port of it where one is known.

    What `denylist` names is refused in every mode, on every port unless it names one; `allow` allows what `allowlist`
    names and nothing else, `deny` the rest, `none` nothing. Allowed are `ports`, and what an entry itself names. Mode
    `deny` allows no address in the place of a name: it would be a way to every name on the list."""
    if policy.mode is NetworkMode.NONE:
        return Ruling(False, "security.network: mode none")
    denied = first_match(policy.denylist, host, port)
    if denied is not None:
        return Ruling(False, f"security.network.denylist: {denied}")
    if policy.mode is NetworkMode.DENY:
        if as_address(host) is not None:
            return Ruling(False, "security.network: mode deny goes by names, and this is an address")
        if port is not None and port not in ports:
            return Ruling(False, f"security.network: mode deny allows the ports {', '.join(map(str, sorted(ports)))}")
        return Ruling(True, "security.network: not on the denylist")
    allowed = first_match(policy.allowlist, host, port, ports=ports)
    if allowed is None:
        return Ruling(False, f"not on security.network.allowlist: {', '.join(policy.allowlist) or 'it is empty'}")
    return Ruling(True, f"security.network.allowlist: {allowed}")


def as_address(text: str) -> Address | None:
    """The address that this is in its canonical form (an IPv4 one that IPv6 wraps unwrapped); None for a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
