"""How a verb reads the files of the state directory: beside a gateway, or in its place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import Failed
from kurolproxy.storage.lock import StateDirectory, StateError, StateLocked

_LOCK_WAIT_S: Final = 5.0
_TRY_S: Final = 0.2


@contextmanager
def beside(
    directory: StateDirectory, before_hold: Callable[[], object] | None = None
) -> Iterator[ControlClient | None]:
    """Connect to the gateway; when none runs, take its lock: None.

    A process that is neither running nor gone (a gateway that starts, another verb) is
    waited for, at most 5 s.

    Args:
        before_hold: called before anything is created in the directory.

    Raises:
        Failed: somebody holds the directory and does not answer, or it cannot be used.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        client = ControlClient.connect(directory.path)
        if client is not None:
            with client:
                yield client
            return
        try:
            if before_hold is not None:
                before_hold()
            held = directory.hold(wait_s=_TRY_S)
        except StateLocked as error:
            if time.monotonic() >= deadline:
                raise Failed(f"{error}, which does not answer") from error
        except StateError as error:
            raise Failed(str(error)) from error
        else:
            with held:
                _hand_over(directory)
                yield None
            return


def must_exist(directory: StateDirectory) -> None:
    """See to it that there is a database: a verb that only reads makes none.

    Raises:
        Failed: there is none, or it is not ours to see.
    """
    path = directory.database_path
    try:
        path.stat()
    except PermissionError as error:
        raise Failed(f"{directory.path} is not yours: run this as its owner or as root") from error
    except OSError as error:
        raise Failed(f"there is no database {path}: no gateway has started there yet") from error


def _hand_over(directory: StateDirectory) -> None:
    """Give the lock file to the owner of the directory: root may have made it just now."""
    if os.geteuid() == 0:
        owner = directory.path.stat()
        os.chown(directory.path / "lock", owner.st_uid, owner.st_gid, follow_symlinks=False)
