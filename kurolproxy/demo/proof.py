"""The demo vendor's proofs of its own reasoning: handed out with a thought, checked on return."""

from __future__ import annotations

import base64
import hashlib
import hmac

# No secret: a demo vendor's proofs only have to be unlike any other text.
_PROOF_KEY = b"demo vendor"


def prove(thought: str) -> str:
    """Return the proof of a thought, in standard base64."""
    digest = hashlib.sha256(thought.encode()).hexdigest()
    return base64.b64encode(f"demo:{digest}:{_mac(digest)}".encode()).decode()


def proves(proof: str, thought: str | None = None) -> bool:
    """Tell whether ``proof`` is one of ours and, when the thought is there, belongs to it."""
    try:
        _, digest, mac = base64.b64decode(proof, validate=True).decode("ascii").split(":")
    except ValueError:
        return False
    if not hmac.compare_digest(mac, _mac(digest)):
        return False
    return not thought or digest == hashlib.sha256(thought.encode()).hexdigest()


def _mac(digest: str) -> str:
    return hmac.new(_PROOF_KEY, digest.encode(), "sha256").hexdigest()
