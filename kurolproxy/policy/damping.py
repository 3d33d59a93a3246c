"""Wrong keys and passwords of one address or name: from so many a minute on it has to wait."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

WINDOW_S = 60.0
MAX_ADDRESSES = 10_000
_MAX_CHARS = 64


class Damping:
    """Counts failures of each address in the minute that its first one begins.

    A key costs nothing to look at, so only failures are asked about: whoever has the right
    one is let in, whatever others at his address do. A password costs much: whether it is
    looked at at all is asked before, counted as a failure meanwhile, and forgiven when it was
    right. The memory is bounded: when there are too many addresses, the one that failed
    longest ago is forgotten.

    Args:
        max_addresses: how many are remembered.
        window_s: how long a failure counts, at most.
    """

    def __init__(self, max_addresses: int = MAX_ADDRESSES, window_s: float = WINDOW_S) -> None:
        self._max_addresses = max_addresses
        self._window_s = window_s
        # Neighbourhood -> (when its minute began, failures since); the latest stands last.
        self._failures: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def failed(self, address: str, now: float, limit: int) -> bool:
        """Count one failure.

        Args:
            address: of the client, as text; one that is no IP address counts as it is.
            now: seconds of a monotonic clock.
            limit: failures of a window that are answered like any other.

        Returns:
            whether there were more than that.
        """
        where = neighbourhood(address)
        began, count = self._failures.pop(where, (now, 0))
        if now - began >= self._window_s:
            began, count = now, 0
        # Beyond the limit nothing more has to be known.
        count = min(count + 1, limit + 1)
        self._failures[where] = (began, count)
        if len(self._failures) > self._max_addresses:
            del self._failures[next(iter(self._failures))]
        return count > limit

    def blocked(self, address: str, now: float, limit: int) -> float:
        """Return how long an address has to wait before one more failure is answered.

        Args:
            address, now, limit: as ``failed`` takes them.

        Returns:
            seconds; 0.0 when it need not wait. Nothing is counted.
        """
        began, count = self._failures.get(neighbourhood(address), (now, 0))
        return max(0.0, began + self._window_s - now) if count >= limit else 0.0

    def forgive(self, address: str) -> None:
        """Take back one failure that turned out to be none."""
        where = neighbourhood(address)
        began, count = self._failures.get(where, (0.0, 0))
        if count > 1:
            self._failures[where] = (began, count - 1)
        else:
            self._failures.pop(where, None)


def neighbourhood(address: str) -> str:
    """Return what of an address its owner cannot change at will: of IPv6 the /64."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_MAX_CHARS]
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> 64 << 64)) + "/64"
