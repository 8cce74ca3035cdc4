"""What follows from a configuration and its environment: the documents' words, and defaults that are not constant."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from aegis.config.readers import DATABASE_URL, DOCKER_URL, SECRET, URL
from aegis.documents.contexts import derive_contexts
from aegis.documents.nodes import Scalar
from aegis.documents.problems import Path
from aegis.documents.readers import TEXT, Mistake, Reader
from aegis.documents.table import Reading, Said

_PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "ollama": "openai",
    "openai-compatible": "openai",
}
_API_KEY_VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_ANY_HOST = "0.0.0.0"  # noqa: S104 - what the documents' `nfs_port` alone means
DATABASE_FILE = "aegis.db"
VOLUMES_DIRECTORY = "volumes"


def derive(reading: Reading, environ: Mapping[str, str], base_directory: str) -> None:
    """`base_directory`: what relative paths of the file are relative to."""
    _state_directory(reading, environ)
    _paths(reading, base_directory)
    _from_variable(reading, ("runtime", "docker_url"), DOCKER_URL, environ, "DOCKER_HOST")
    _from_variable(reading, ("database", "url"), DATABASE_URL, environ, "DATABASE_URL", secret=True)
    state = reading.said.get(("node", "state_directory"))
    if state is not None:
        _below_state(reading, state)
    _gateway(reading)
    _listen(reading)
    derive_secrets(reading, environ)
    _providers(reading)
    _api_keys(reading, environ)


_STORE_VARIABLES = (
    ("address", URL, ("OPENBAO_ADDR", "VAULT_ADDR"), False),
    ("namespace", TEXT, ("OPENBAO_NAMESPACE", "VAULT_NAMESPACE"), False),
    ("ca_file", TEXT, ("OPENBAO_CACERT", "VAULT_CACERT"), False),
    ("role_id", SECRET, ("OPENBAO_ROLE_ID",), True),
    ("secret_id", SECRET, ("OPENBAO_SECRET_ID",), True),
)


def derive_secrets(reading: Reading, environ: Mapping[str, str]) -> None:
    """What the store's own programs read from the environment, where nothing else was said."""
    for key, reader, names, secret in _STORE_VARIABLES:
        for name in names:
            _from_variable(reading, ("secrets", key), reader, environ, name, secret=secret)
    derive_contexts(reading, prefix_of(reading))


def prefix_of(reading: Reading) -> Path:
    """Where the document's own keys begin: below `spec` in the form with an envelope."""
    return ("spec",) if ("spec",) in reading.places else ()


def _said(value: Any, where: str, *, secret: bool = False) -> Said:
    node = Scalar("", "", "string", 0, 0, untyped=True)
    return Said(value, (where,), node, where, secret)


def _from_variable(
    reading: Reading, target: Path, reader: Reader, environ: Mapping[str, str], name: str, *, secret: bool = False
) -> None:
    """A variable that is not ours by name (`DOCKER_HOST`): it counts where nothing else was said."""
    if reading.knows(target) or not environ.get(name):
        return
    where = f"environment {name}"
    try:
        value = reader.read(Scalar(environ[name], environ[name], "string", 0, 0, untyped=True))
    except Mistake as mistake:
        found = mistake.found or ("(not shown)" if secret else f'"{environ[name][:80]}"')
        reading.problem(_said(None, where, secret=secret), mistake.wanted, mistake.hint, found=found)
        return
    reading.said[target] = _said(value, where, secret=secret)


def _state_directory(reading: Reading, environ: Mapping[str, str]) -> None:
    """systemd's `StateDirectory=`, else the user's own, else the system's."""
    target = ("node", "state_directory")
    if reading.knows(target):
        return
    if environ.get("STATE_DIRECTORY"):  # systemd.exec(5): several are separated by colons
        said = _said(environ["STATE_DIRECTORY"].split(":")[0], "environment STATE_DIRECTORY")
    elif environ.get("XDG_STATE_HOME"):
        said = _said(f"{environ['XDG_STATE_HOME']}/aegis", "environment XDG_STATE_HOME")
    elif environ.get("HOME", "/") != "/":
        said = _said(f"{environ['HOME']}/.local/state/aegis", "derived from environment HOME")
    else:
        said = _said("/var/lib/aegis", "default")
    reading.said[target] = said


def _paths(reading: Reading, base_directory: str) -> None:
    """Relative paths of a file are relative to that file, so that it means the same wherever the daemon is started."""
    aliases = {target[1] for target in reading.said if target[0] == "models"}
    servers = {target[1] for target in reading.said if target[0] == "mcp_servers"}
    targets: list[Path] = [("node", "state_directory"), ("storage", "root"), ("runtime", "registry_path")]
    targets.append(("secrets", "ca_file"))
    targets += [("models", alias, "script") for alias in aliases]
    targets += [("mcp_servers", server, "cwd") for server in servers]
    for target in targets:
        said = reading.said.get(target)
        if said is not None:
            value = os.path.normpath(os.path.join(base_directory, os.path.expanduser(said.value)))
            reading.said[target] = Said(value, said.path, said.node, said.where, said.secret)


def _below_state(reading: Reading, state: Said) -> None:
    if not reading.knows(("storage", "root")):
        reading.derive(("storage", "root"), f"{state.value}/{VOLUMES_DIRECTORY}", state)
    if not reading.knows(("database", "url")):
        reading.derive(("database", "url"), f"sqlite+aiosqlite:///{state.value}/{DATABASE_FILE}", state)


def _gateway(reading: Reading) -> None:
    port = reading.said.get(("~nfs_port",))
    if port is None:
        return
    listen = reading.said.get(("storage", "nfs_listen"))
    if listen is None:
        reading.derive(("storage", "nfs_listen"), {"host": _ANY_HOST, "port": port.value}, port)
    elif listen.value["port"] != port.value:
        wanted = f"{listen.value['port']}, as {listen.where} says"
        reading.problem(port, wanted, "the same thing is said twice and differently; say it once")


def _listen(reading: Reading) -> None:
    host, port = reading.said.get(("~bind_address",)), reading.said.get(("~port",))
    said = host or port
    if said is None:
        return
    value = ({"host": host.value if host else "127.0.0.1", "port": port.value if port else 8080},)
    listen = reading.said.get(("api", "listen"))
    if listen is None:
        reading.derive(("api", "listen"), value, said)
    elif listen.value != value:
        wanted = f"what {listen.where} says"
        reading.problem(said, wanted, "the same thing is said twice and differently; say it once")


def _providers(reading: Reading) -> None:
    """Of several enabled providers with one alias the default provider's counts, else the first one's."""
    favourite = reading.get(("~default_provider",))
    indices = reading.indices(("~llm",))
    names = [reading.get(("~llm", index, "name")) for index in indices]
    if favourite is not None and favourite not in names:
        reading.problem(reading.said[("~default_provider",)], f"one of {', '.join(str(name) for name in names)}")
    for index in sorted(indices, key=lambda index: reading.get(("~llm", index, "name")) != favourite):
        provider = ("~llm", index)
        if reading.get((*provider, "enabled"), True) and (*provider, "type") in reading.said:
            for position in reading.indices((*provider, "models")):
                _alias(reading, provider, (*provider, "models", position))


def _alias(reading: Reading, provider: Path, model: Path) -> None:
    alias = reading.said.get((*model, "alias"))
    if alias is None or ("models", alias.value, "provider") in reading.said:
        return
    kind = reading.said[(*provider, "type")]
    values = {
        "provider": _PROVIDERS[kind.value],
        "model": reading.get((*model, "model")),
        "base_url": _base_url(kind.value, reading.get((*provider, "endpoint"))),
        "api_key": reading.get((*provider, "api_key")),
        "max_retries": reading.get(("~max_retries",)),
    }
    for key, value in values.items():
        if value is not None:
            origin = reading.said.get((*provider, key)) or reading.said.get((*model, key)) or alias
            reading.derive(("models", alias.value, key), value, origin)


def _base_url(kind: str, endpoint: str | None) -> str | None:
    """Ollama's own address is not that of its OpenAI side; the SDK of anthropic adds /v1 itself."""
    if endpoint is None:
        return "http://localhost:11434/v1" if kind == "ollama" else None
    if kind == "ollama" and not endpoint.endswith("/v1"):
        return f"{endpoint}/v1"
    return endpoint.removesuffix("/v1") if kind == "anthropic" else endpoint


def _api_keys(reading: Reading, environ: Mapping[str, str]) -> None:
    """Only for the provider's own address: a key must never be sent to somebody else because it was there."""
    providers = {target[1]: said.value for target, said in reading.said.items() if _is_provider(target)}
    for alias, provider in providers.items():
        variable = _API_KEY_VARIABLES.get(provider, "")
        target = ("models", alias, "api_key")
        elsewhere = reading.knows(("models", alias, "base_url"))
        if environ.get(variable) and not reading.knows(target) and not elsewhere:
            reading.said[target] = _said(environ[variable], f"environment {variable}", secret=True)


def _is_provider(target: Path) -> bool:
    return len(target) == 3 and target[0] == "models" and target[2] == "provider"
