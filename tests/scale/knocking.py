"""Ask for ``/livez`` every 10 ms until standard input ends; print the times it took.

python -m tests.scale.knocking PORT
"""

from __future__ import annotations

import json
import select
import sys
import time
from http.client import HTTPConnection

EVERY_S = 0.01


def main(port: int) -> None:
    """Print a JSON array of milliseconds, one for each answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    took_ms = []
    due = time.perf_counter()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.perf_counter()))[0]:
        began = time.perf_counter()
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        took_ms.append(1_000 * (time.perf_counter() - began))
        due = max(due + EVERY_S, began)
    print(json.dumps(took_ms))


if __name__ == "__main__":
    main(int(sys.argv[1]))
