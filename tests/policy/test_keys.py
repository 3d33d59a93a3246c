"""Secrets, digests and the table of keys."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from kurolproxy.policy.keys import (
    Account,
    Key,
    KeyTable,
    digest,
    make_secret,
    session_key,
)

ANN = Account(1, "ann@example.org", "Ann", "user", "team")
BEN = Account(2, "ben@example.org", "Ben", "user", "team")


def key(id_: str, secret: str, account: Account = ANN) -> Key:
    return Key(id_, account.id, "", digest(secret), secret[:12], secret[-4:])


def test_secret_is_the_prefix_and_32_bytes_in_base64url() -> None:
    assert make_secret(bytes(32)) == "sk-kurol-" + "A" * 43
    assert make_secret(b"\xff" * 32) == "sk-kurol-" + "_" * 42 + "8"


def test_management_secret_has_its_own_prefix() -> None:
    assert make_secret(bytes(32), admin=True) == "sk-kurol-admin-" + "A" * 43


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_secret_of_too_few_or_too_many_bytes_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        make_secret(bytes(length))


def test_digest_is_the_sha256_of_the_whole_key() -> None:
    assert digest("sk-kurol-x") == sha256(b"sk-kurol-x").digest()


def test_key_is_found_by_its_whole_secret_only() -> None:
    table = KeyTable()
    secret = make_secret(bytes(32))
    table.put(key("k1", secret), ANN)
    found = table.find(secret)
    assert found is not None
    assert (found[0].id, found[1]) == ("k1", ANN)
    wrong = [secret[:-1], secret + "A", secret[:-1] + "B", secret.upper(), " " + secret, "", "k1"]
    assert [table.find(each) for each in wrong] == [None] * len(wrong)


@pytest.mark.parametrize(
    "sent", ["\udc80\udcff", "\ud800", "ключ", "\x00", "sk-kurol-" + "x" * 8_000]
)
def test_strange_bytes_are_a_wrong_key(sent: str) -> None:
    table = KeyTable()
    table.put(key("k1", "sk-kurol-1"), ANN)
    assert table.find(sent) is None


def test_replaced_key_loses_its_old_secret() -> None:
    table = KeyTable()
    old = key("k1", "old")
    table.put(old, ANN)
    table.put(key("k1", "new"), ANN)
    assert table.find("old") is None
    assert table.current(old) is None
    assert table.find("new") is not None
    assert len(table) == 1


def test_removed_key_is_gone_and_its_sibling_stays() -> None:
    table = KeyTable()
    table.put(key("k1", "one"), ANN)
    table.put(key("k2", "two"), ANN)
    table.remove("k1")
    table.remove("never there")
    assert (table.find("one"), table.knows("k1")) == (None, False)
    assert (table.find("two") is not None, table.knows("k2")) == (True, True)


def test_changed_account_reaches_all_its_keys_and_no_other() -> None:
    table = KeyTable()
    table.put(key("k1", "one"), ANN)
    table.put(key("k2", "two"), ANN)
    table.put(key("k3", "three", BEN), BEN)
    disabled = Account(1, "ann@example.org", "Ann", "user", "solo", active=False)
    table.put_account(disabled)
    owners = [found[1] for found in map(table.find, ("one", "two", "three")) if found]
    assert owners == [disabled, disabled, BEN]


def test_removed_account_takes_its_keys_along() -> None:
    table = KeyTable()
    table.put(key("k1", "one"), ANN)
    table.put(key("k3", "three", BEN), BEN)
    table.remove_account(ANN.id)
    assert table.find("one") is None
    assert table.find("three") is not None


def test_key_is_not_put_under_a_foreign_account() -> None:
    with pytest.raises(ValueError, match="k1"):
        KeyTable().put(key("k1", "one"), BEN)


def test_representation_of_a_key_hides_its_digest() -> None:
    assert "digest" not in repr(key("k1", "one"))


def test_session_of_an_account_is_valid_as_long_as_the_account_is_there() -> None:
    table = KeyTable()
    account = Account(7, "a@example.org", "", "user", "team")
    key = session_key(7)
    assert table.current(key) is None
    table.put_account(account)
    assert table.current(key) == (key, account)
    moved = replace(account, plan="other")
    table.put_account(moved)
    assert table.current(key) == (key, moved)
    assert table.account(7) == moved
    table.remove_account(7)
    assert table.current(key) is None
    assert table.account(7) is None
