"""What goes on now, in memory: the server writes it, the dashboard reads it."""

from __future__ import annotations


class Live:
    """The calls that run, and the last ones that ended, of each account."""
