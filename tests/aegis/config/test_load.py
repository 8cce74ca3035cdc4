"""The node's configuration: where it is found, both forms of it, what counts before what, and what is never shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from aegis.config import NodeConfig, load_config
from aegis.config.load import BUILT_IN, LoadedConfig, find_config, read_config
from aegis.config.model import ListenAddress, SecretStore
from aegis.config.table import ROWS, VARIABLES
from aegis.daemon.parts import secrets_of, tool_servers
from aegis.documents import ConfigError
from aegis.errors import SecretUnavailable

ROOT = Path(__file__).resolve().parents[3]
HOME = {"HOME": "/home/someone"}


def read(text: str, environ: dict[str, str] | None = None, **options: Any) -> LoadedConfig:
    return read_config(text, "c.yaml", HOME if environ is None else environ, base_directory="/etc/aegis", **options)


def refusal(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    return str(caught.value)


def where(loaded: LoadedConfig, path: str) -> tuple[str, str]:
    return next((row.value, row.where) for row in loaded.explanation if row.path == path)


# ---- where it is found ----


def test_without_a_file_the_built_in_defaults_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path)}
    if find_config(environ) is not None:
        pytest.skip("this machine has an /etc/aegis/config.yaml")
    loaded = load_config(None, environ)
    assert loaded.source == BUILT_IN
    assert loaded.config.storage.nfs_listen == ListenAddress(host="0.0.0.0", port=2049)
    assert loaded.config.storage.mount_profile == "robust"


def test_files_are_looked_for_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    (home / ".aegis").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    environ = {"HOME": str(home)}
    (home / ".aegis" / "config.yaml").write_text("{node: {name: home}}")
    assert load_config(None, environ).config.node.name == "home"
    (here / "aegis-config.yaml").write_text("{node: {name: here}}")
    assert load_config(None, environ).config.node.name == "here"
    named = tmp_path / "named.yaml"
    named.write_text("{node: {name: variable}}")
    environ["AEGIS_CONFIG_PATH"] = str(named)
    assert load_config(None, environ).config.node.name == "variable"
    given_file = tmp_path / "given.yaml"
    given_file.write_text("{node: {name: given}}")
    assert load_config(given_file, environ).config.node.name == "given"


@pytest.mark.parametrize("named_by", ["argument", "variable"])
def test_a_file_that_was_named_and_is_not_there_is_an_error(tmp_path: Path, named_by: str) -> None:
    path = tmp_path / "absent.yaml"
    argument = path if named_by == "argument" else None
    with pytest.raises(ConfigError) as caught:
        load_config(argument, {"AEGIS_CONFIG_PATH": str(path)})
    assert caught.value.code == "invalid_config"
    assert "No such file" in str(caught.value) and str(path) in str(caught.value)


# ---- both forms ----


def test_the_bare_form_and_the_envelope_mean_the_same() -> None:
    bare = {"storage": {"nfs_listen_addr": "127.0.0.1:3049"}, "image_pull_policy": "Never"}
    envelope = {"apiVersion": "100monkeys.ai/v1", "kind": "NodeConfig", "metadata": {"name": "aegis"}, "spec": bare}
    assert read(yaml.safe_dump(bare)).config == read(yaml.safe_dump(envelope)).config


def test_the_pages_example_is_a_configuration() -> None:
    config = read('storage:\n  nfs_listen_addr: "0.0.0.0:2049"\n').config
    assert str(config.storage.nfs_listen) == "0.0.0.0:2049"


def test_the_documents_words_mean_the_same_as_ours() -> None:
    theirs = """
storage: {backend: local_host, nfs_port: 3049, local_host: {mount_point: /srv/a, default_size_limit_mb: 10}}
runtime: {docker_socket_path: /run/docker.sock, docker_network_mode: agents, runtime_registry_path: /etc/r.yaml}
network: {bind_address: 127.0.0.1, port: 8088}
observability: {logging: {level: debug, format: json}}
"""
    ours = """
storage: {nfs_listen_addr: "0.0.0.0:3049", root: /srv/a, default_size_limit: 10Mi}
runtime: {docker_url: unix:///run/docker.sock, network_name: agents, registry_path: /etc/r.yaml}
api: {listen: ["127.0.0.1:8088"]}
logging: {level: debug, format: json}
"""
    assert read(theirs).config == read(ours).config


def test_the_documents_providers_become_aliases_and_the_default_provider_comes_first() -> None:
    config = read(
        """
llm_providers:
  - name: a
    type: ollama
    endpoint: http://localhost:11434
    models: [{alias: default, model: small, context_window: 4096}, {alias: local, model: small}]
  - {name: c, type: openai, enabled: false, models: [{alias: other, model: x}]}
  - name: b
    type: anthropic
    endpoint: https://api.anthropic.com/v1
    api_key: literal:env:key
    models: [{alias: default, model: large}]
llm_selection: {default_provider: b, max_retries: 5}
"""
    ).config
    assert sorted(config.models) == ["default", "local"]
    default, local = config.models["default"], config.models["local"]
    assert (default.provider, default.model, default.base_url) == ("anthropic", "large", "https://api.anthropic.com")
    assert default.api_key is not None and default.api_key.get_secret_value() == "env:key"
    assert (local.provider, local.base_url, local.max_retries) == ("openai", "http://localhost:11434/v1", 5)


# ---- what counts before what ----


def test_a_variable_counts_before_the_file_and_explain_says_so() -> None:
    text = '{storage: {nfs_listen_addr: "0.0.0.0:1"}, api: {listen: ["127.0.0.1:1"]}}'
    variables = {"AEGIS_STORAGE_NFS_LISTEN_ADDR": "127.0.0.1:2", "AEGIS_API_LISTEN": "127.0.0.1:3, [::1]:4"}
    loaded = read(text, {**HOME, **variables})
    assert loaded.config.storage.nfs_listen.port == 2
    assert [str(address) for address in loaded.config.api.listen] == ["127.0.0.1:3", "[::1]:4"]
    assert where(loaded, "storage.nfs_listen.port") == ("2", "environment AEGIS_STORAGE_NFS_LISTEN_ADDR")


def test_every_option_that_is_one_value_has_a_variable() -> None:
    without = [row.path for row in ROWS if row.target and row not in VARIABLES.values()]
    assert all("[]" in path or "*" in path for path in without)


def test_a_variable_that_cannot_be_used_is_a_problem_that_names_it() -> None:
    assert "environment AEGIS_RUNTIME_NFS_PORT" in refusal("{}", {**HOME, "AEGIS_RUNTIME_NFS_PORT": "many"})


def test_a_misspelt_variable_is_noted_with_the_right_one() -> None:
    notes = read("{}", {**HOME, "AEGIS_STORAGE_ROOTS": "/x", "AEGIS_API_URL": "http://x"}).notes
    assert [(note.path, "AEGIS_STORAGE_ROOT" in note.text) for note in notes] == [("AEGIS_STORAGE_ROOTS", True)]


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "sqlite+aiosqlite:////home/someone/.local/state/aegis/aegis.db"),
        ({"DATABASE_URL": "postgresql://u:p@h:5/d"}, "postgresql+asyncpg://u:p@h:5/d"),
        ({"DATABASE_URL": "postgres://a/b", "AEGIS_DATABASE_URL": "sqlite:////x.db"}, "sqlite+aiosqlite:////x.db"),
        ({"DATABASE_URL": "postgres://h/d?sslmode=require"}, "postgresql+asyncpg://h/d?ssl=require"),
    ],
)
def test_the_database_is_the_first_one_that_is_named(environ: dict[str, str], url: str) -> None:
    assert read("{}", {**HOME, **environ}).config.database.url.get_secret_value() == url


def test_the_files_database_counts_before_database_url() -> None:
    loaded = read("{database: {url: postgresql://h/d}}", {**HOME, "DATABASE_URL": "postgresql://other/d"})
    assert loaded.config.database.url.get_secret_value() == "postgresql+asyncpg://h/d"


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/h"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/aegis"),
        ({"HOME": "/h"}, "/h/.local/state/aegis"),
        ({}, "/var/lib/aegis"),
    ],
)
def test_state_is_where_systemd_or_the_user_keeps_it(environ: dict[str, str], directory: str) -> None:
    config = read("{}", environ).config
    assert config.node.state_directory == directory
    assert config.storage.root == f"{directory}/volumes"


def test_relative_paths_are_relative_to_the_file() -> None:
    config = read("{models: {default: {provider: script, script: answers.yaml}}, storage: {root: ../v}}").config
    assert config.models["default"].script == "/etc/aegis/answers.yaml"
    assert config.storage.root == "/etc/v"


def test_a_providers_usual_key_is_used_and_never_sent_to_another_address() -> None:
    text = "{models: {a: {provider: openai, model: m}, b: {provider: openai, model: m, base_url: 'http://elsewhere'}}}"
    models = read(text, {**HOME, "OPENAI_API_KEY": "sk"}).config.models
    assert models["a"].api_key is not None and models["a"].api_key.get_secret_value() == "sk"
    assert models["b"].api_key is None


# ---- values that are somewhere else, and secrets ----


def test_env_values_are_taken_from_the_environment_also_where_a_number_is_wanted() -> None:
    text = "{runtime: {nfs_port: 'env:PORT', nfs_server_host: 'env:NFS'}, api: {tokens: ['env:TOKEN']}}"
    config = read(text, {**HOME, "PORT": "3049", "NFS": "10.0.0.1", "TOKEN": "t"}).config
    assert (config.runtime.nfs_port, config.runtime.nfs_server_host) == (3049, "10.0.0.1")
    assert [token.get_secret_value() for token in config.api.tokens] == ["t"]


def test_an_env_value_that_is_not_set_names_the_variable() -> None:
    assert "wanted the environment variable NOPE" in refusal("{database: {url: 'env:NOPE'}}")


STORE = "secrets: {address: 'http://bao:8200', role_id: r, secret_id: hushhush}"


def test_secrets_are_refused_without_a_store_and_name_what_sets_one() -> None:
    message = refusal("{api: {tokens: ['secret:a/b']}}")
    assert "found secret:a/b" in message
    assert "no secret store is set: secrets.address, or OPENBAO_ADDR" in message


def test_the_store_is_opened_by_the_first_secret_with_what_the_file_says_wherever_it_stands() -> None:
    opened: list[SecretStore] = []

    def opener(settings: SecretStore) -> Callable[[str], str]:
        opened.append(settings)
        return {"a/b#c": "hush-hush", "db": "postgresql://u:hush-hush@h/d", "host": "gateway.example"}.__getitem__

    text = "{api: {tokens: ['secret:a/b#c', 'secret:a/b#c']}, runtime: {nfs_server_host: 'secret:host'}, " + STORE + "}"
    loaded = read(text, secrets=opener)
    assert [token.get_secret_value() for token in loaded.config.api.tokens] == ["hush-hush"] * 2
    assert loaded.config.runtime.nfs_server_host == "gateway.example"
    assert where(loaded, "runtime.nfs_server_host")[0] == "********", "a secret wherever it stands"
    assert set(loaded.secrets) == {"hush-hush", "gateway.example"}
    [settings] = opened
    assert (settings.address, settings.mount) == ("http://bao:8200", "secret")
    assert settings.secret_id is not None and settings.secret_id.get_secret_value() == "hushhush"
    assert "hush" not in repr(loaded)
    read(STORE, secrets=lambda settings: pytest.fail("nothing asks for a secret"))


def test_the_environment_says_where_the_store_is_and_what_opens_it() -> None:
    opened: list[SecretStore] = []

    def opener(settings: SecretStore) -> Callable[[str], str]:
        opened.append(settings)
        return lambda path: f"value of {path}"

    environ = {**HOME, "OPENBAO_ADDR": "https://bao:8200", "OPENBAO_ROLE_ID": "r", "OPENBAO_SECRET_ID": "s"}
    environ |= {"VAULT_ADDR": "https://other:8200", "VAULT_NAMESPACE": "team", "AEGIS_DATABASE_URL": "secret:db#url"}
    environ["AEGIS_DATABASE_URL"] = "sqlite:////x"
    read("{api: {tokens: ['secret:a']}}", environ, secrets=opener)
    assert (opened[0].address, opened[0].namespace) == ("https://bao:8200", "team")


def test_a_store_that_is_away_is_asked_once_and_told_at_every_reference() -> None:
    asked = []

    def away(path: str) -> str:
        asked.append(path)
        raise SecretUnavailable("The secret store at http://bao:8200 is sealed", next_step="Unseal it")

    text = "{api: {tokens: ['secret:a', 'secret:b']}, database: {url: 'secret:c'}, " + STORE + "}"
    with pytest.raises(ConfigError) as caught:
        read(text, secrets=lambda settings: away)
    assert len(asked) == 1
    assert str(caught.value).count("The secret store at http://bao:8200 is sealed. Unseal it") == 2
    assert "hushhush" not in str(caught.value)


def test_a_secret_that_is_not_there_is_one_problem_beside_the_others() -> None:
    def source(path: str) -> str:
        if path == "here":
            return "hush-hush"
        raise SecretUnavailable(f"secret:{path} is not there", retryable=False)

    text = "{api: {tokens: ['secret:here']}, database: {url: 'secret:missing'}, logging: {level: loud}, " + STORE + "}"
    with pytest.raises(ConfigError) as caught:
        read(text, secrets=lambda settings: source)
    assert "secret:missing is not there" in str(caught.value) and "logging.level" in str(caught.value)


def test_a_store_without_a_login_is_a_mistake_of_the_file() -> None:
    assert "secrets.secret_id: found nothing" in refusal("{secrets: {address: 'http://bao:8200', role_id: r}}")


SECRETS = """
database: {url: "postgresql://user:hunter2@host/d"}
api: {tokens: [hunter2]}
models: {default: {provider: openai, model: m, api_key: hunter2}}
registry_credentials: [{registry: ghcr.io, username: u, password: hunter2}]
"""


def test_secrets_are_in_no_explanation_and_in_no_text_of_the_configuration() -> None:
    loaded = read(SECRETS)
    assert "hunter2" not in repr(loaded.explanation) + repr(loaded.config) + loaded.config.model_dump_json()


@pytest.mark.parametrize(
    "mistake",
    [
        "models: {default: {provider: openai, model: m, api_key: hunter2, timeout: never}}",
        "models: {default: {provider: openai, model: m, api_kye: hunter2}}",
        "database: {url: 'mysql://u:hunter2@h/d'}",
        "database: {url: hunter2}",
        "api: {tokens: hunter2}",
        "api: {tokens: [hunter2, ~]}",
        "registry_credentials: [{registry: 'https://ghcr.io', username: u, password: hunter2}]",
        "database: {url: 'postgresql://u:hunter2@h/d'",
        "logging: {level: loud}\napi_token: hunter2",
        "api: {tokens: [hunter2]}\napi: {tokens: [hunter2]}",
    ],
)
def test_secrets_are_in_no_message_about_a_mistake_beside_them(mistake: str) -> None:
    assert "hunter2" not in refusal(mistake)


# ---- what is refused ----


def test_fallbacks_that_go_in_a_circle_are_refused_at_each_of_its_aliases() -> None:
    one = "provider: script, script: s, fallback"
    message = refusal(f"models: {{a: {{{one}: b}}, b: {{{one}: c}}, c: {{{one}: b}}}}")
    assert "models.b.fallback" in message and "models.c.fallback" in message
    assert "models.a.fallback" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('storage: {nfs_listen_addr: "0.0.0.0:2049", nfs_port: 2050}', "the same thing is said twice and differently"),
        ("storage: {nfs_listen_addr: 0.0.0.0}", "with the port: 0.0.0.0:2049"),
        ("storage: {nfs_listen_addr: 'a:70000'}", "ports end at 65535"),
        ("storage: {mount_options: soft}", "nolock is missing"),
        ("storage: {backend: seaweedfs}", "not available in this version"),
        ("storage: {nfs_allowed_clients: [10.0.0.1/8]}", "has host bits set"),
        ("runtime: {docker_url: docker.sock}", "unix:///var/run/docker.sock"),
        ("runtime: {network_subnet: 10.0.0.0/30}", "room for hardly any container"),
        ("runtime: {nfs_port: 70000}", "less than or equal to 65535"),
        ("image_pull_policy: always", "did you mean Always?"),
        ("models: {default: {provider: script}}", "models.default.script: found nothing"),
        ("models: {default: {provider: openai}}", "models.default.model: found nothing"),
        ("models: {default: {model: m}}", "models.default.provider: found nothing"),
        ("models: {default: {provider: script, script: a, model: m}}", "no model: the provider is script"),
        ("models: {default: {}}", "models.default: found an empty mapping, wanted an entry"),
        ("models: {default: }", "models.default: found nothing, wanted an entry"),
        ("models: {Bad Name: {provider: openai, model: m}}", "found the alias 'Bad Name'"),
        (
            "models: {a: {provider: script, script: s, fallback: b}}",
            'models.a.fallback: found "b", wanted the alias of another',
        ),
        (
            "models: {large: {provider: script, script: s, fallback: smal}, small: {provider: script, script: s}}",
            "did you mean small?",
        ),
        (
            "models: {a: {provider: script, script: s, fallback: a}}",
            "wanted an alias whose own fallbacks do not lead back here",
        ),
        (
            "models: {a: {provider: script, script: s, price_per_million: {input: 1}}}",
            "models.a.price_per_million.output: found nothing",
        ),
        ("llm_selection: {default_provider: x}", "one of"),
        ("registry_credentials: [{registry: 'https://ghcr.io', username: u, password: p}]", "without a scheme"),
        ("database: {url: 'sqlite://x.db'}", "three slashes"),
        ("mcp_servers: {fs: {command: x}}", "fs.* are tools of the daemon itself"),
        ("mcp_servers: {a.b: {command: x}}", "wanted the name of a tool server"),
        ("mcp_servers: {a: {args: [x]}}", "mcp_servers.a.command: found nothing"),
        ("mcp_servers: {a: {command: x, env: {1A: x}}}", "the name of an environment variable"),
        ("mcp_servers: {a: {command: x, args: ['env:HOME']}}", "every user of this host can see it"),
        ("smcp: {issuer: a}", "not available in this version"),
        ("kind: NodeConfig\nspec: {}", "apiVersion: found nothing"),
        ("storge: {}", "did you mean storage?"),
    ],
)
def test_a_mistake_is_one_problem_with_what_is_wanted(text: str, said: str) -> None:
    message = refusal(text)
    assert said in message
    assert ": 1 problem\n" in message


def test_all_mistakes_of_a_file_are_reported_at_once() -> None:
    text = "storage: {nfs_listen_addr: here}\nimage_pull_policy: sometimes\nloging: {}\nlimits: {tool_rounds: 0}\n"
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 4]


def test_a_credential_for_a_registry_twice_is_refused() -> None:
    one = {"registry": "ghcr.io", "username": "u", "password": "p"}
    assert "another registry than in line" in refusal(yaml.safe_dump({"registry_credentials": [one, one]}))


def test_the_example_that_is_shipped_is_a_configuration_without_a_note() -> None:
    path = ROOT / "deploy" / "config.example.yaml"
    assert load_config(path, HOME).notes == ()


def test_the_example_shows_the_defaults_where_it_says_so() -> None:
    text = (ROOT / "deploy" / "config.example.yaml").read_text(encoding="utf-8")
    shown = text.replace("  # mount_profile: robust                 # or", "  mount_profile: robust  #")
    assert shown != text
    assert read(shown).config.storage == read("{}").config.storage


def test_an_explanation_has_every_value_of_the_model() -> None:
    paths = {row.path.split(".")[0] for row in read("{}").explanation}
    assert paths == set(NodeConfig.model_fields)


WORDS = sorted({part for row in ROWS for part in row.pattern if part not in ("[]", "*")})


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from(["env:A", "secret:b"])),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
        ),
        max_leaves=20,
    ),
    st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.text(st.characters(codec="ascii"), max_size=8), max_size=2),
)
def test_any_yaml_and_any_environment_is_a_configuration_or_a_config_error(value: Any, environ: dict[str, str]) -> None:
    try:
        read(yaml.safe_dump(value), environ)
    except ConfigError as error:
        assert error.problems
    assert os.getcwd()  # reading touches nothing


def test_a_tool_servers_environment_is_masked_and_what_came_by_reference_is_its_secret() -> None:
    text = """
mcp_servers:
  github:
    command: npx
    args: [-y, "literal:env:x"]
    cwd: tools
    env: {TOKEN: "env:GITHUB_TOKEN", HOST: github.example, COUNT: "literal:env:x"}
    tools: ["create_*"]
"""
    loaded = read(text, {**HOME, "GITHUB_TOKEN": "hunter2hunter2"})
    server = loaded.config.mcp_servers["github"]
    assert (server.command, server.args, server.cwd) == ("npx", ("-y", "env:x"), "/etc/aegis/tools")
    assert server.env["TOKEN"] == SecretStr("hunter2hunter2")
    assert (server.env["HOST"], server.env["COUNT"]) == ("github.example", "env:x")
    shown = {row.path: row.value for row in loaded.explanation if row.path.startswith("mcp_servers")}
    assert "hunter2" not in str(shown) and "github.example" not in str(shown)
    assert shown["mcp_servers.github.env.TOKEN"] == "********"
    [settings] = [tool_servers(loaded.config).server("github").settings]
    assert settings.secrets == ("hunter2hunter2",)
    assert "hunter2hunter2" in secrets_of(loaded.config)
    assert "hunter2" not in repr(settings)
