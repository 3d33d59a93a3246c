"""What the settings of a tool are made from, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from kurolproxy.connect.quoting import is_sayable
from kurolproxy.policy.catalog import Model, Plan

Shell = Literal["bash", "powershell"]
Language = Literal[
    "bash", "powershell", "json", "jsonc", "toml", "python", "javascript", "settings"
]
KEY_VARIABLE: Final = "KUROL_API_KEY"
"""The environment variable that texts without a key read."""
SHELL: Final = "shell"
"""Where a step is typed that is no file."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What tools ask about a model.

    Attributes:
        context_window: tokens of prompt and answer together; None: unknown.
        max_output_tokens: of one answer; None: unknown.
        thinks: whether it shows its reasoning.
        sees: whether it takes images.
    """

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    thinks: bool = False
    sees: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who is connected to what.

    Args:
        base_url: of the gateway, without a path (``https://llm.example.org``).
        small: for what a tool asks in the background.
        key: None: the texts read ``KUROL_API_KEY``.

    Raises:
        ValueError: a text holds a NUL or half of a character, which no tool can be told.
    """

    base_url: str
    model: ModelFacts
    small: ModelFacts
    key: str | None = field(default=None, repr=False)
    shell: Shell = "bash"

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        for text in (self.base_url, self.model.id, self.small.id, self.key or ""):
            if not is_sayable(text):
                raise ValueError("a name or an address holds a NUL or half of a character")

    @property
    def v1(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.base_url}/v1"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        title: what it is, in a few words.
        where: the file that the text is written to, ``shell``, or where in the tool.
        text: to be copied; it ends without a line break.
        note: what to know about it; "" when there is nothing.
    """

    title: str
    where: str
    language: Language
    text: str
    note: str = ""


def facts_of(model: Model, plan: Plan | None = None) -> ModelFacts:
    """Return what tools need to know of a model of the catalog.

    Args:
        plan: of the account; it may allow less output than the model can.
    """
    traits = [target.traits for target in model.targets]
    windows = [model.context_window, *(each.context_window for each in traits)]
    outputs = [model.max_output_tokens, *(each.max_output_tokens for each in traits)]
    if plan is not None:
        outputs.append(plan.max_output_tokens)
    return ModelFacts(
        id=model.id,
        context_window=min((each for each in windows if each is not None), default=None),
        max_output_tokens=min((each for each in outputs if each is not None), default=None),
        thinks=any(each.reasoning_family and each.thinking != "none" for each in traits),
        sees=all(each.vision for each in traits),
    )
