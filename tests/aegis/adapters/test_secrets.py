"""Secrets from a store: what comes back, how long a token is used, and what is said when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from aegis.adapters.secrets import OpenBao, StoreSettings
from aegis.errors import SecretUnavailable
from tests.support.fake_openbao import ROLE_ID, SECRET_ID, Store, serving

SECRETS: dict[str, dict[str, Any] | None] = {
    "team/app": {"password": "hunter2hunter2", "user": "app", "port": 5432, "extra": {"a": 1}},
    "single": {"value": "only one"},
    "gone": None,
}


@pytest.fixture
def store() -> Iterator[Store]:
    with serving(dict(SECRETS)) as store:
        yield store


@pytest.fixture
def bao(store: Store) -> Iterator[OpenBao]:
    bao = client(store)
    yield bao
    bao.close()


def client(store: Store, **changes: Any) -> OpenBao:
    settings = StoreSettings(address=store.url, role_id=ROLE_ID, secret_id=SECRET_ID, timeout_seconds=20)
    return OpenBao(replace(settings, **changes), monotonic=lambda: store.now)


def refusal(bao: OpenBao, reference: str) -> SecretUnavailable:
    with pytest.raises(SecretUnavailable) as raised:
        bao.read(reference)
    said = f"{raised.value} {raised.value!r}"
    for secret in (SECRET_ID, ROLE_ID, "hunter2", "s.token"):
        assert secret not in said
    return raised.value


def test_a_field_of_a_secret_and_the_only_one_without_its_name(bao: OpenBao, store: Store) -> None:
    assert bao.read("team/app#password") == "hunter2hunter2"
    assert bao.read("team/app#port") == "5432"
    assert bao.read("single") == "only one"
    assert [call for call in store.calls if "login" in call] == ["POST /v1/auth/approle/login"]


async def test_it_does_not_block_the_event_loop(bao: OpenBao) -> None:
    assert await bao.get("single#value") == "only one"


def test_a_token_is_renewed_before_it_ends_and_replaced_when_it_may_not_live_longer(bao: OpenBao, store: Store) -> None:
    made = []
    for _ in range(40):
        assert bao.read("single") == "only one"
        made.append(len(store.tokens))
        store.now += 15
    assert store.calls.count("POST /v1/auth/token/renew-self") >= 4
    assert made[0] == 1
    assert 4 <= made[-1] <= 6, "a new one about every 150 s, in 600 s"


def test_a_token_that_cannot_be_renewed_is_replaced(bao: OpenBao, store: Store) -> None:
    store.renewable = False
    for _ in range(4):
        assert bao.read("single") == "only one"
        store.now += 50
    assert len(store.tokens) == 4
    assert not any("renew" in call for call in store.calls)


def test_a_token_that_was_revoked_is_replaced_at_once(bao: OpenBao, store: Store) -> None:
    bao.read("single")
    store.tokens = {"another": (0.0, 1.0)}
    assert bao.read("single") == "only one"


def test_a_pause_longer_than_the_tokens_life_is_a_new_login(bao: OpenBao, store: Store) -> None:
    bao.read("single")
    store.now += 10_000
    assert bao.read("single") == "only one"
    assert len(store.tokens) == 2


def test_other_mounts_and_a_namespace_are_settings(store: Store) -> None:
    store.mount, store.approle_mount, store.namespace = "kv", "robots", "team-a"
    bao = client(store, mount="kv", approle_mount="robots", namespace="team-a")
    assert bao.read("single") == "only one"
    bao.close()


def test_a_token_in_the_environment_is_not_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "somebody's own")
    bao = client(store)
    assert bao.read("single") == "only one"
    assert len(store.tokens) == 1
    bao.close()


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("team/nothing#x", "secret:team/nothing is not there, in the mount secret. bao kv put"),
        ("team/app#token", "secret:team/app has no field token; there are: extra, password, port, user"),
        ("team/app", "secret:team/app has the fields extra, password, port, user. Name one: secret:team/app#FIELD"),
        ("team/app#extra", "holds no text in its field extra"),
        ("gone#x", "secret:gone is deleted in its latest version"),
        ("../sys/seal", "is no reference. Write secret:path#field"),
        ("a b", "is no reference"),
        ("", "is no reference"),
        ("/abs#x", "is no reference"),
    ],
)
def test_what_is_wrong_with_a_reference_is_said(bao: OpenBao, reference: str, says: str) -> None:
    assert says in str(refusal(bao, reference))


def test_a_policy_that_is_missing_is_said_with_the_line_it_needs(bao: OpenBao, store: Store) -> None:
    store.denied = {"team/app"}
    error = refusal(bao, "team/app#user")
    assert 'permission denied for secret/data/team/app. Its policy needs: path "secret/data/team/app"' in str(error)
    assert not error.retryable
    assert len(store.tokens) == 2, "one new login, in case the token was the reason"


def test_a_login_that_is_refused_names_what_to_check(store: Store) -> None:
    bao = client(store, secret_id="used-up-secret-id")
    error = refusal(bao, "single")
    assert "refuses the AppRole login: invalid role or secret ID" in str(error)
    assert "OPENBAO_SECRET_ID" in error.next_step
    assert "used-up" not in str(error)
    bao.close()


def test_a_wrong_mount_is_told_from_a_missing_secret(store: Store) -> None:
    bao = client(store, mount="kv")
    assert "there is no mount kv. Set secrets.mount" in str(refusal(bao, "single"))
    bao.close()


def test_a_store_that_is_sealed_or_silent_or_away_may_come_back(store: Store) -> None:
    store.sealed = True
    bao = client(store)
    sealed = refusal(bao, "single")
    assert "is sealed or standing by: Vault is sealed" in str(sealed) and sealed.retryable
    store.sealed = False
    assert bao.read("single") == "only one"
    bao.close()
    store.silent = True
    hasty = client(store, timeout_seconds=0.05)
    assert "has not answered within 0.05 s" in str(refusal(hasty, "single"))
    hasty.close()
    nobody = client(store, address="http://127.0.0.1:9")
    away = refusal(nobody, "single")
    assert "at http://127.0.0.1:9 cannot be reached" in str(away) and away.retryable
    nobody.close()


def test_something_else_that_answers_is_no_store(store: Store) -> None:
    store.answer = lambda *_: (200, {"hello": "world"})  # type: ignore[method-assign]
    bao = client(store)
    assert "is no OpenBao and no Vault" in str(refusal(bao, "single"))
    bao.close()
