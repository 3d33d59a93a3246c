"""docs/estimate.md says what was measured."""

from __future__ import annotations

import os

import pytest

from tests.fakes.recordings import recordings_dir
from tests.policy.estimate_page import BLOCKS, committed, differences, write

UPDATE = bool(os.environ.get("KUROL_UPDATE_ESTIMATE"))
RECORDED = [name for name in BLOCKS if name.startswith("recorded")]


def skip_without_recordings(block: str) -> None:
    if block in RECORDED and recordings_dir() is None:
        pytest.skip("no recordings: set KUROL_RECORDINGS or put them in ../shared/recordings")
    if block in RECORDED and os.environ.get("KUROL_RECORDINGS"):
        pytest.skip("the page tells of another set than that of KUROL_RECORDINGS")


@pytest.mark.parametrize("block", list(BLOCKS))
def test_page_says_what_was_measured(block: str) -> None:
    skip_without_recordings(block)
    found = BLOCKS[block]()
    print(found)
    if UPDATE:
        write(block, found)
    wrong = differences(committed(block), found)
    assert wrong == [], "run this file with KUROL_UPDATE_ESTIMATE=1"


ROW = "| Chinese | 1.50 - 1.52 - 1.57 | 124 | 96 % | 1.44 |"
OTHERS = [
    ("the same", ROW, True),
    ("a little other ratio", ROW.replace("1.57", "1.76"), True),
    ("a little other share", ROW.replace("96", "99"), True),
    ("another ratio", ROW.replace("1.57", "1.79"), False),
    ("another share", ROW.replace("96", "92"), False),
    ("another count", ROW.replace("124", "125"), False),
    ("another word", ROW.replace("Chinese", "Japanese"), False),
    ("a row more", f"{ROW}\n{ROW}", False),
    ("a figure less", ROW.replace("1.44", "-"), False),
]


@pytest.mark.parametrize(("what", "other", "same"), OTHERS)
def test_figures_of_another_python_are_no_difference(what: str, other: str, same: bool) -> None:
    assert (differences(ROW, other) == []) is same
