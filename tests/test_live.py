"""What is kept of calls in memory: how much, under which numbers, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from kurolproxy.live import OF_ACCOUNT, OF_ALL, Finished, Live, Ring, Running
from kurolproxy.storage.rows import UsageRow

DAY = date(2030, 1, 2)
BEGAN = 1_893_542_400.5


def row(number: int, account_id: int = 1, **other: Any) -> Finished:
    """Return a call that ended."""
    given: dict[str, Any] = {
        "request_id": f"r{number}",
        "day": DAY,
        "started_at": BEGAN + number,
        "account_id": account_id,
        "key_id": "k1",
        "model": "m",
        "upstream": "u",
        "client_protocol": "openai-chat",
        "upstream_protocol": "openai-chat",
        "status": 200,
        "outcome": "ok",
        "prompt": 10,
        "completion": 5,
        "cache_read": 0,
        "cache_write": 0,
        "reasoning": 0,
        "charged": 15,
        "estimated": False,
        "streamed": False,
        "duration_ms": 7,
        "ttft_ms": None,
    }
    return Finished(**(given | other))


def running(request_id: str, account_id: int = 1) -> Running:
    """Return a call that runs."""
    return Running(
        request_id, BEGAN, account_id, "k1", "laptop", "m", "openai-chat", "curl", True, 10, 3
    )


def ids(live: Live, account_id: int | None, after: int | None = None) -> list[str]:
    """Return the ids of the calls that are kept."""
    return [each.request_id for _, each in live.finished(account_id, after).rows]


def test_finished_call_is_its_row_of_the_ledger_and_two_more_fields() -> None:
    assert Finished._fields == (*UsageRow._fields, "client", "key_label")


# --- rings ------------------------------------------------------------------------------

FIRST = int((BEGAN + 1) * 1_000_000)


def ring(count: int, most: int = 3) -> Ring:
    """Return a ring that so many calls were added to, from r1 on."""
    made = Ring(most)
    for number in range(1, count + 1):
        made.add(row(number))
    return made


SINCE = [
    # calls that ended, after the how-manieth of them, what comes, how many are missed
    ("nothing ended", 0, None, [], 0),
    ("nothing ended, and somebody comes with a number", 0, 5, [], 0),
    ("all", 2, None, ["r1", "r2"], 0),
    ("all that are kept", 5, None, ["r3", "r4", "r5"], 0),
    ("the last is known", 5, 5, [], 0),
    ("one more", 5, 4, ["r5"], 0),
    ("just all that are kept", 5, 2, ["r3", "r4", "r5"], 0),
    ("one is gone", 5, 1, ["r3", "r4", "r5"], 1),
    ("from before the first", 5, -9, ["r3", "r4", "r5"], 2),
    ("a number that was never given", 5, 99, ["r3", "r4", "r5"], 0),
]


@pytest.mark.parametrize(
    ("count", "after", "expected", "missed"),
    [each[1:] for each in SINCE],
    ids=[e[0] for e in SINCE],
)
def test_ring_tells_what_came_since(
    count: int, after: int | None, expected: list[str], missed: int
) -> None:
    found = ring(count).since(None if after is None else FIRST - 1 + after)
    assert [each.request_id for _, each in found.rows] == expected
    assert found.missed == missed
    assert found.last == (FIRST - 1 + count if count else 0)
    assert [number for number, _ in found.rows] == [FIRST - 1 + int(each[1:]) for each in expected]


def test_later_ring_has_larger_numbers() -> None:
    before, after = Ring(3), Ring(3)
    for number in range(50):
        before.add(row(number))
    after.add(row(51))
    assert after.last > before.last
    assert after.since(before.last).missed == 0
    assert len(after.since(before.last).rows) == 1


def test_clock_before_1970_gives_a_number_that_is_none_of_nobody() -> None:
    made = Ring(3)
    made.add(row(0, started_at=0.0))
    assert made.last == 1


# --- what is kept ------------------------------------------------------------------------


def test_calls_of_an_account_stand_under_no_other() -> None:
    live = Live()
    for number in range(10):
        live.add(row(number, account_id=number % 2))
    assert ids(live, 0) == ["r0", "r2", "r4", "r6", "r8"]
    assert ids(live, 1) == ["r1", "r3", "r5", "r7", "r9"]
    assert ids(live, 2) == []
    assert ids(live, None) == [f"r{number}" for number in range(10)]


def test_last_calls_of_an_account_and_of_all_are_kept() -> None:
    live = Live()
    for number in range(OF_ALL + 50):
        live.add(row(number))
    assert len(ids(live, 1)) == OF_ACCOUNT
    assert len(ids(live, None)) == OF_ALL
    assert ids(live, 1)[-1] == ids(live, None)[-1] == f"r{OF_ALL + 49}"


def test_account_that_called_longest_ago_is_forgotten() -> None:
    live = Live(most_accounts=3)
    for number, account_id in enumerate([1, 2, 3, 1, 4]):
        live.add(row(number, account_id, client="curl"))
    assert [bool(ids(live, each)) for each in (1, 2, 3, 4)] == [True, False, True, True]
    assert live.tools_seen(2) == frozenset()
    assert live.last(2) == 0


def test_rows_of_all_accounts_together_are_bounded() -> None:
    live = Live(most_rows=40)
    for number in range(30):
        live.add(row(number, 1))
    for number in range(30, 60):
        live.add(row(number, 2))
    assert (len(ids(live, 1)), len(ids(live, 2))) == (0, 30)
    for number in range(10):
        live.add(row(number, 3))
    assert [len(ids(live, each)) for each in (2, 3)] == [30, 10]


def test_one_account_alone_is_never_forgotten() -> None:
    live = Live(most_rows=2, most_accounts=1)
    for number in range(5):
        live.add(row(number))
    assert len(ids(live, 1)) == 5


def test_forgotten_account_comes_back_with_larger_numbers() -> None:
    live = Live(most_accounts=1)
    live.add(row(1, 1))
    known = live.last(1)
    live.add(row(2, 2))
    live.add(row(3, 1))
    assert live.last(1) > known
    assert ids(live, 1, known) == ["r3"]


def test_tools_are_remembered_longer_than_their_calls() -> None:
    live = Live()
    live.add(row(0, client="claude-code"))
    for number in range(OF_ACCOUNT + 5):
        live.add(row(number, client="curl" if number else ""))
    assert live.tools_seen(1) == {"claude-code", "curl"}
    assert live.tools_seen(2) == frozenset()


def test_tools_are_bounded() -> None:
    live = Live()
    for number in range(500):
        live.add(row(number, client=f"tool-{number}"))
    assert len(live.tools_seen(1)) == 50


# --- what runs ---------------------------------------------------------------------------


def test_running_calls_are_asked_only_when_somebody_looks() -> None:
    asked: list[str] = []

    def call(request_id: str) -> Running:
        asked.append(request_id)
        return running(request_id)

    live = Live()
    for number in range(3):
        live.begin(1, f"r{number}", lambda number=number: call(f"r{number}"))
    live.begin(2, "other", lambda: call("other"))
    live.end(1, "r0")
    assert asked == []
    found, count = live.running(1, 10)
    assert ([each.request_id for each in found], count) == (["r1", "r2"], 2)
    assert asked == ["r1", "r2"]


def test_only_so_many_running_calls_are_asked_and_all_are_counted() -> None:
    live = Live()
    for number in range(10):
        live.begin(number % 2, f"r{number}", lambda number=number: running(f"r{number}"))
    assert (len(live.running(0, 3)[0]), live.running(0, 3)[1]) == (3, 5)
    assert (len(live.running(None, 7)[0]), live.running(None, 7)[1]) == (7, 10)
    assert live.running(5, 3) == ([], 0)


def test_call_that_never_began_may_end() -> None:
    live = Live()
    live.end(1, "r1")
    live.begin(1, "r2", lambda: running("r2"))
    live.end(1, "r1")
    assert live.running(1, 9)[1] == 1
    live.end(1, "r2")
    live.end(1, "r2")
    assert live.running(None, 9) == ([], 0)


# --- who is told -------------------------------------------------------------------------


@dataclass
class Listener:
    """Notes what it is told."""

    name: str
    heard: list[str]

    def began(self) -> None:
        self.heard.append(f"{self.name} began")

    def ended(self) -> None:
        self.heard.append(f"{self.name} ended")


def test_watchers_are_told_of_their_account_and_those_of_all_of_every() -> None:
    live = Live()
    heard: list[str] = []
    live.watch(1, Listener("one", heard))
    live.watch(None, Listener("all", heard))
    live.begin(1, "r1", lambda: running("r1"))
    live.begin(2, "r2", lambda: running("r2"))
    assert heard == ["one began", "all began", "all began"]
    heard.clear()
    live.end(1, "r1")
    live.add(row(1))
    assert heard == ["one ended", "all ended"] * 2
    heard.clear()
    live.unwatch(1)
    live.unwatch(1)
    live.unwatch(None)
    live.add(row(2))
    live.end(2, "r2")
    assert heard == []


def test_end_of_what_did_not_run_tells_nobody() -> None:
    live = Live()
    heard: list[str] = []
    live.watch(1, Listener("one", heard))
    live.end(1, "r1")
    assert heard == []
