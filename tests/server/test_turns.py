"""Large bodies wait for each other in order; nobody else waits for more than a step."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from kurolproxy.server.turns import Turns

KIB, MIB = 1 << 10, 1 << 20
LARGE = 2 * MIB


def work(name: str, done: list[str], steps: int = 3) -> Generator[None, None, str]:
    for number in range(steps):
        done.append(f"{name}{number}")
        yield
    return name


async def test_large_bodies_are_worked_on_in_the_order_they_came() -> None:
    turns, done = Turns(), list[str]()
    found = await asyncio.gather(*(turns.take(LARGE, work(each, done)) for each in "abc"))
    assert found == ["a", "b", "c"]
    assert done == [f"{each}{number}" for each in "abc" for number in range(3)]


async def test_everybody_else_gets_a_turn_between_two_steps() -> None:
    turns, done = Turns(), list[str]()
    task = asyncio.create_task(turns.take(LARGE, work("a", done)))
    seen = []
    while not task.done():
        await asyncio.sleep(0)
        seen.append(len(done))
    assert {1, 2, 3} <= set(seen)


@pytest.mark.parametrize(("size", "waits"), [(4 * KIB, False), (MIB, False), (MIB + 1, True)])
async def test_only_a_large_body_waits_for_a_large_one(size: int, waits: bool) -> None:
    turns, done = Turns(), list[str]()
    first = asyncio.create_task(turns.take(LARGE, work("a", done, 50)))
    await asyncio.sleep(0)
    assert await turns.take(size, work("b", done)) == "b"
    assert first.done() is waits
    await first


async def test_small_body_is_worked_on_at_once() -> None:
    turns, done = Turns(), list[str]()
    task = asyncio.create_task(turns.take(256 * KIB, work("a", done)))
    await asyncio.sleep(0)
    assert done == ["a0", "a1", "a2"]
    assert await task == "a"


@pytest.mark.parametrize("gone", ["working", "waiting"])
async def test_call_that_is_cancelled_leaves_the_turn_to_the_next(gone: str) -> None:
    turns, done = Turns(), list[str]()
    tasks = [asyncio.create_task(turns.take(LARGE, work(each, done, 5))) for each in "abc"]
    await asyncio.sleep(0)
    assert turns.waiting == 2
    tasks[0 if gone == "working" else 1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in found].count(True) == 1
    assert found[2] == "c"
    assert turns.waiting == 0


async def test_work_that_fails_leaves_the_turn_to_the_next() -> None:
    def failing() -> Generator[None, None, str]:
        yield
        raise ValueError

    turns, done = Turns(), list[str]()
    calls = (turns.take(LARGE, failing()), turns.take(LARGE, work("b", done)))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[0], ValueError)
    assert found[1] == "b"
