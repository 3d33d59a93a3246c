"""The sealed token: a vendor's proof of reasoning, carried through another protocol.

Standard base64 of ``kx1`` and a JSON object, so it always begins with ``a3gx``. It holds
no secret and no signature of ours: the vendor that made the proof checks it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from kurolproxy.ir import Reasoning, Seal
from kurolproxy.protocols import wire

PREFIX = "a3gx"
_MAGIC = b"kx1"
_MAX_TOKEN = 1_468_006  # 1.4 MiB: longer ones are not even decoded
_MAX_DECODED = 1_048_576
_KINDS = ("a", "r", "g", "c")


def encode(seal: Seal) -> str:
    """Write a seal as one base64 word."""
    body: dict[str, Any] = {"p": seal.protocol, "f": seal.family, "s": seal.proof}
    if seal.text is not None:
        body["t"] = seal.text
    if seal.item_id is not None:
        body["i"] = seal.item_id
    if seal.redacted:
        body["x"] = 1
    return base64.b64encode(_MAGIC + wire.dumps(body)).decode()


def decode(token: str) -> Seal | None:
    """Read a seal.

    Returns:
        None for anything that is not one of ours, whole and within its limits.
    """
    if not token.startswith(PREFIX) or len(token) > _MAX_TOKEN:
        return None
    try:
        raw = base64.b64decode(token, validate=True)
        body = wire.loads(raw[len(_MAGIC) :]) if raw.startswith(_MAGIC) else None
    except (binascii.Error, ValueError):
        return None
    if len(raw) > _MAX_DECODED or not isinstance(body, dict):
        return None
    kind, family, proof = body.get("p"), body.get("f"), body.get("s")
    text, item = body.get("t"), body.get("i")
    if kind not in _KINDS or not isinstance(family, str) or not isinstance(proof, str):
        return None
    if not isinstance(text, str | None) or not isinstance(item, str | None):
        return None
    return Seal(kind, family, proof, text, item, body.get("x") == 1)


def restorable(part: Reasoning, protocol: str, family: str | None) -> Seal | None:
    """Return the part's seal when the chosen upstream can check it.

    Args:
        protocol: the vendor form the upstream takes (``a``, ``r``, ``g``, ``c``).
        family: the reasoning family of the target; None never matches.
    """
    seal = part.seal
    if seal is None or not family or seal.protocol != protocol or seal.family != family:
        return None
    return seal
