"""A state directory is never taken away from others who use it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kurolproxy.storage.lock import StateDirectory, StateError


def test_directory_with_other_files_that_others_use_is_refused_and_left_alone(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "other.txt").write_text("hi")
    with pytest.raises(StateError, match="folder of its own"):
        StateDirectory(shared).hold()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


@pytest.mark.parametrize("files", [(), ("lock",), ("kurolproxy.db", "other.txt")])
def test_directory_that_is_ours_is_made_private(files: tuple[str, ...], tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    ours.chmod(0o755)
    for name in files:
        (ours / name).touch()
    with StateDirectory(ours).hold():
        assert stat.S_IMODE(ours.stat().st_mode) == 0o700
