"""Calls are refused before the kernel kills, and taken again when there is room."""

from __future__ import annotations

from mmap import mmap
from pathlib import Path

import pytest

from kurolproxy.server.memory import MemoryWatch, Resident, memory_limit

MIB = 1 << 20

GROUPS: list[tuple[str, str, dict[str, str], int | None]] = [
    ("v2", "0::/system.slice/k.service\n", {"system.slice/k.service/memory.max": "300"}, 300),
    ("v2, unlimited", "0::/a\n", {"a/memory.max": "max\n"}, None),
    ("v2, the parent's", "0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "200\n"}, 200),
    ("v2, the smallest", "0::/a/b\n", {"a/b/memory.max": "100", "a/memory.max": "200"}, 100),
    ("v2, own root", "0::/\n", {"memory.max": "400"}, 400),
    ("v2, another's path", "0::/../../x\n", {"memory.max": "400"}, 400),
    (
        "v1",
        "9:name=systemd:/x\n4:memory:/a\n0::/\n",
        {"memory/a/memory.limit_in_bytes": "500\n"},
        500,
    ),
    ("v1, two together", "4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "500"}, 500),
    ("v1, in a container", "4:memory:/x\n", {"memory/memory.limit_in_bytes": "600"}, 600),
    (
        "v1, unlimited",
        "4:memory:/a\n",
        {"memory/a/memory.limit_in_bytes": "9223372036854771712"},
        None,
    ),
    ("none", "", {}, None),
    ("nonsense", "x\n::\n0::/a\n", {"a/memory.max": "much"}, None),
]


@pytest.mark.parametrize(
    ("own", "files", "limit"), [each[1:] for each in GROUPS], ids=[each[0] for each in GROUPS]
)
def test_limit_of_the_control_group_is_found(
    own: str, files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_limit(tmp_path / "groups", tmp_path / "own") == limit


def test_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "groups", tmp_path / "own") is None


def test_what_is_resident_grows_with_what_is_held() -> None:
    resident = Resident()
    before = resident()
    # Pages of its own: a heap may have some to spare.
    with mmap(-1, 32 * MIB) as held:
        held.write(b"x" * (32 * MIB))
        assert resident() - before > 24 * MIB
    resident.close()
    assert resident() == 0


class Taken:
    """A process of a chosen size, which may hold memory that is free."""

    def __init__(self) -> None:
        self.size = self.free = 0
        self.told: list[tuple[int, int]] = []
        self.watch = MemoryWatch(
            100, lambda: self.size, lambda *each: self.told.append(each), self.give_back
        )

    def give_back(self) -> None:
        self.size -= self.free
        self.free = 0


def test_memory_is_short_from_90_to_85_percent() -> None:
    taken = Taken()
    seen = []
    for now, size in enumerate([50, 89, 90, 95, 88, 85, 84, 89, 90]):
        taken.size = size
        taken.watch.look(float(now))
        seen.append(taken.watch.short)
    assert seen == [False, False, True, True, True, True, False, False, True]


def test_what_is_only_kept_is_given_back_first() -> None:
    taken = Taken()
    taken.size, taken.free = 95, 20
    taken.watch.look(0.0)
    assert (taken.watch.short, taken.size) == (False, 75)


def test_shortness_is_told_once_a_minute() -> None:
    taken = Taken()
    taken.size = 93
    for now in range(0, 125, 5):
        taken.watch.look(float(now))
    assert taken.told == [(93, 100)] * 3


def test_memory_is_not_looked_at_more_often_than_each_half_second() -> None:
    taken = Taken()
    taken.watch.look(10.0)
    taken.size = 99
    taken.watch.look(10.4)
    assert not taken.watch.short
    taken.watch.look(10.5)
    assert taken.watch.short


def test_without_a_limit_nothing_is_looked_at() -> None:
    def never() -> int:
        raise AssertionError

    watch = MemoryWatch(None, never)
    watch.look(1.0)
    assert not watch.short
