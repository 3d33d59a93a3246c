"""The command line's end of the control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from kurolproxy.cli.failure import CannotConnect, Failed
from kurolproxy.server.control import MAX_LINE_BYTES, SOCKET_NAME

# Without a byte; a report over a year takes longer, and sends white space meanwhile.
_ANSWER_S: Final = 60.0


class ControlClient:
    """A conversation with a gateway that runs; a context manager that ends it.

    Args:
        connection: to the control socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile("rb")

    @classmethod
    def connect(cls, state_dir: Path) -> ControlClient | None:
        """Connect to the gateway of a state directory; None when none runs there.

        Raises:
            Failed: one may run there, but this user may not talk to it.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_ANSWER_S)
        try:
            connection.connect(str(state_dir / SOCKET_NAME))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            # No socket, or one that a dead process left behind.
            connection.close()
            return None
        except PermissionError as error:
            connection.close()
            raise Failed(f"{state_dir} is not yours: run this as its owner or as root") from error
        except OSError as error:
            connection.close()
            raise CannotConnect(f"cannot connect to the gateway: {error.strerror}") from error
        return cls(connection)

    def call(self, verb: str, args: Mapping[str, Any]) -> Any:
        """Have one verb carried out and return its result.

        Raises:
            Failed: it was refused, or the gateway stopped meanwhile.
        """
        line = json.dumps({"verb": verb, "args": args}).encode() + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise Failed("the arguments are too long")
        try:
            self._connection.sendall(line)
            answer = self._answers.readline()
        except TimeoutError as error:
            raise Failed(f"the gateway did not answer within {_ANSWER_S:.0f} s") from error
        except OSError as error:
            raise Failed(f"the gateway went away: {error.strerror}") from error
        if not answer.endswith(b"\n"):
            raise Failed("the gateway stopped before it answered")
        said = json.loads(answer)
        if not said["ok"]:
            raise Failed(said["message"])
        return said["result"]

    def close(self) -> None:
        """End the conversation."""
        self._answers.close()
        self._connection.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
