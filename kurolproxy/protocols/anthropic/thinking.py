"""How much an Anthropic model is asked to think."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kurolproxy.ir import Effort, ModelTraits, ReasoningWish
from kurolproxy.protocols import efforts
from kurolproxy.protocols.losses import Reader

_LEAST_BUDGET = 1024
_LEAST_ANSWER = 1024
"""Tokens that must be left for the answer behind the thoughts."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What goes on the wire: the field ``thinking`` and ``output_config.effort``."""

    field: dict[str, Any] | None = None
    effort: Effort | None = None

    @property
    def on(self) -> bool:
        """Whether the model was asked to think."""
        return self.field is not None and self.field["type"] != "disabled"


class ThinkingEncoder:
    """Turn a client's wish into what the target takes.

    Args:
        cap: the output cap that goes out, thoughts included.
    """

    def __init__(self, reader: Reader, traits: ModelTraits, cap: int) -> None:
        self._reader = reader
        self._traits = traits
        self._cap = cap

    def encode(self, *, may: bool = True) -> Thinking:
        """Return what to ask for; nothing when the client said nothing.

        Args:
            may: False when this request cannot have thoughts, whatever the client wants.
        """
        wish = self._reader.request.reasoning
        if wish is None:
            return Thinking()
        effort = efforts.wished(wish)
        if effort == "none":
            self._reader.whole(wish)
            if self.can_be_off:
                return self._off()
            effort = "low"
        if not may:
            return self._off()
        if self._traits.thinking == "adaptive":
            self._reader.whole(wish)
            return Thinking({"type": "adaptive"}, self._known(effort))
        if self._traits.thinking == "budget":
            return self._budget(wish, effort)
        return Thinking()

    @property
    def can_be_off(self) -> bool:
        """Whether the target can be told not to think."""
        return self._traits.thinking != "adaptive" or self._traits.thinking_can_disable

    def _off(self) -> Thinking:
        # By a budget alone thinking is off unless it is switched on.
        adaptive = self._traits.thinking == "adaptive" and self._traits.thinking_can_disable
        return Thinking({"type": "disabled"} if adaptive else None)

    def _known(self, effort: Effort | None) -> Effort | None:
        if effort is None:
            return None
        # The vendor's lowest word is low.
        allowed = tuple(each for each in self._traits.efforts if each not in ("none", "minimal"))
        return efforts.clamp("low" if effort == "minimal" else effort, allowed)

    def _budget(self, wish: ReasoningWish, effort: Effort | None) -> Thinking:
        asked = wish.budget or 0
        if asked <= 0:
            asked = efforts.to_budget(effort or "medium")
        tokens = min(max(asked, _LEAST_BUDGET), self._cap - _LEAST_ANSWER)
        if tokens < _LEAST_BUDGET:
            return Thinking()
        self._reader.whole(wish)
        return Thinking({"type": "enabled", "budget_tokens": tokens})
