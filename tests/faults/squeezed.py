"""Run the gateway in control groups of our own: ``python -m tests.faults.squeezed FOLDER ...``.

Nothing of the gateway is made for this: what it reads below ``/sys/fs/cgroup`` and of
``/proc/self/cgroup`` comes from the folder instead, where both stand as ``groups`` and ``own``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kurolproxy.__main__ import main

_GROUPS = "/sys/fs/cgroup"
_OWN = "/proc/self/cgroup"


def redirect(folder: Path) -> None:
    """Have the files of control groups read from a folder."""
    read_text = Path.read_text

    def redirected(path: Path, *args: Any, **options: Any) -> str:
        name = str(path)
        if name == _OWN:
            path = folder / "own"
        elif name.startswith(_GROUPS):
            path = folder / "groups" / name.removeprefix(_GROUPS).lstrip("/")
        return read_text(path, *args, **options)

    Path.read_text = redirected  # type: ignore[method-assign]


if __name__ == "__main__":
    redirect(Path(sys.argv.pop(1)))
    main()
