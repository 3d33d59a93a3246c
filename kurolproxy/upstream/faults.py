"""The texts of what goes wrong between us and an upstream: kinds, never a foreign text."""

from __future__ import annotations

from kurolproxy.errors import Overloaded, UpstreamError, UpstreamTimeout


def connect_too_slow() -> UpstreamTimeout:
    """The connection did not stand in time."""
    return UpstreamTimeout("The upstream could not be reached in time.")


def unknown_name() -> UpstreamError:
    """DNS does not know it."""
    return UpstreamError("The upstream's name could not be resolved.")


def no_tls() -> UpstreamError:
    """The handshake failed, or the certificate is not to be trusted."""
    return UpstreamError("The TLS connection to the upstream failed.")


def unreachable() -> UpstreamError:
    """Nobody takes the connection."""
    return UpstreamError("The upstream could not be reached.")


def no_descriptor() -> Overloaded:
    """We have as many connections as we may."""
    return Overloaded(
        "The gateway has no room for more connections just now; try again in a second.",
        retry_after_s=1,
    )


def no_answer() -> UpstreamError:
    """The connection ended before the head of an answer."""
    return UpstreamError("The upstream closed the connection without an answer.")


def not_http() -> UpstreamError:
    """Head or framing break the rules of HTTP."""
    return UpstreamError("The upstream's answer is not valid HTTP.")


def broken_off() -> UpstreamError:
    """The body ended too early."""
    return UpstreamError("The upstream broke off its answer.")


def too_large() -> UpstreamError:
    """The body is over what we hold."""
    return UpstreamError("The upstream's answer is too large.")


def compressed() -> UpstreamError:
    """The body has an encoding that was not asked for, and that we do not undo."""
    return UpstreamError("The upstream compressed its answer although we asked it not to.")


def not_gzip() -> UpstreamError:
    """The body is not what its encoding says."""
    return UpstreamError("The upstream's answer is not validly compressed.")


def media_type(content_type: str) -> str:
    """Return the type of a ``content-type``, lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()
