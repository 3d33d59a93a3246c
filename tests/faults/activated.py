"""Run the gateway as a service manager does: with listening sockets as descriptors 3 and up.

python -m tests.faults.activated NAME:FD,NAME:FD -- COMMAND...
"""

from __future__ import annotations

import os
import sys

_FIRST_FD = 3


def main(handed: list[tuple[str, int]], command: list[str]) -> None:
    """Become the command, with the sockets where sd_listen_fds(3) wants them."""
    # Above all of them first: one may stand where another has to go.
    copies = [os.dup2(fd, 100 + number) for number, (_, fd) in enumerate(handed)]
    for number, fd in enumerate(copies):
        os.dup2(fd, _FIRST_FD + number)
    names = ":".join(name for name, _ in handed)
    listening = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(handed))}
    environ = {**os.environ, **listening, "LISTEN_FDNAMES": names}
    os.closerange(100, 100 + len(handed))
    os.execvpe(command[0], command, environ)  # what the tests run


if __name__ == "__main__":
    pairs = [each.split(":") for each in sys.argv[1].split(",")]
    main([(name, int(fd)) for name, fd in pairs], sys.argv[3:])
