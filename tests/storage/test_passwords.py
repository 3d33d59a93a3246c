"""Passwords beside the loop: how many at once, what they cost, when a hash is renewed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from kurolproxy.storage.passwords import (
    BadPassword,
    Passwords,
    PasswordsBusy,
    hash_password,
    nobodys_hash,
)

CHEAP = {"time_cost": 1, "memory_cost": 64, "parallelism": 1}
RIGHT = "correct horse battery"


class Slow(PasswordHasher):
    """A hasher that waits until it may go on, and notes how many do so at once."""

    def __init__(self) -> None:
        super().__init__(**CHEAP)
        self.go = threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(10)
        with self._lock:
            self.running -= 1
        return super().hash(password, salt=salt)


@pytest.fixture
def cheap() -> Iterator[Passwords]:
    made = Passwords(PasswordHasher(**CHEAP))
    yield made
    made.close()


async def test_right_password_matches_and_no_other(cheap: Passwords) -> None:
    hashed = await cheap.hash(RIGHT)
    for given, expected in [(RIGHT, True), (RIGHT + " ", False), ("", False), ("\udcff", False)]:
        assert await cheap.matches(hashed, given) is expected
    assert not await cheap.matches("no hash at all", RIGHT)


async def test_what_could_never_be_set_never_matches(cheap: Passwords) -> None:
    hashed = await cheap.hash("x" * 1_024)
    assert await cheap.matches(hashed, "x" * 1_024)
    assert not await cheap.matches(hashed, "x" * 1_025)
    with pytest.raises(BadPassword):
        await cheap.hash("x" * 1_025)


async def test_nobody_has_a_password_and_it_is_looked_at_as_any_other(cheap: Passwords) -> None:
    before = cheap.worked
    assert not await cheap.matches(None, RIGHT)
    assert not await cheap.matches(None, "")
    assert cheap.worked == before + 2


@pytest.mark.parametrize("hasher", [PasswordHasher(), PasswordHasher(**CHEAP)])
def test_hash_of_nobody_costs_what_others_cost(hasher: PasswordHasher) -> None:
    real, nobodys = hasher.hash(RIGHT), nobodys_hash(hasher)
    assert real.split("$")[:4] == nobodys.split("$")[:4]
    assert [len(each) for each in real.split("$")] == [len(each) for each in nobodys.split("$")]
    assert not hasher.check_needs_rehash(nobodys)


def test_costs_are_those_that_were_measured() -> None:
    assert hash_password(RIGHT).split("$")[1:4] == ["argon2id", "v=19", "m=65536,t=3,p=1"]


async def test_hash_of_other_parameters_is_outdated(cheap: Passwords) -> None:
    assert not cheap.outdated(await cheap.hash(RIGHT))
    assert cheap.outdated(PasswordHasher(time_cost=2, memory_cost=64, parallelism=1).hash(RIGHT))


async def test_two_are_hashed_at_once_some_wait_and_the_rest_is_turned_away() -> None:
    slow = Slow()
    passwords = Passwords(slow)
    tasks = [asyncio.create_task(passwords.hash(RIGHT)) for _ in range(50)]
    await asyncio.sleep(0.05)
    refused = [each for each in tasks if each.done()]
    assert all(isinstance(each.exception(), PasswordsBusy) for each in refused)
    assert len(refused) == 50 - 18
    slow.go.set()
    await asyncio.gather(*(each for each in tasks if each not in refused))
    assert slow.most == 2
    await passwords.hash(RIGHT)
    passwords.close()


@pytest.mark.parametrize("others", ["203.0.113.8", "2001:db8:0:1::1"])
async def test_one_address_leaves_half_of_the_room_to_others(others: str) -> None:
    slow = Slow()
    passwords = Passwords(slow)
    mine = [f"2001:db8::{number}" for number in range(18)]
    tasks = [asyncio.create_task(passwords.hash(RIGHT, address=each)) for each in mine]
    tasks += [asyncio.create_task(passwords.hash(RIGHT, address=others)) for _ in range(9)]
    await asyncio.sleep(0.05)
    assert [each.done() for each in tasks] == [False] * 9 + [True] * 9 + [False] * 9
    slow.go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(each, PasswordsBusy) for each in found) == 9
    assert await passwords.hash(RIGHT, address=mine[0])
    passwords.close()


async def test_who_goes_away_leaves_room_for_others() -> None:
    slow = Slow()
    passwords = Passwords(slow)
    tasks = [asyncio.create_task(passwords.hash(RIGHT)) for _ in range(18)]
    await asyncio.sleep(0.05)
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)
    slow.go.set()
    assert await passwords.hash(RIGHT)
    assert slow.most == 2
    passwords.close()
