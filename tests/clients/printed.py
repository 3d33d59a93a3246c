"""The settings that ``kurolproxy connect`` prints, carried out to the letter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kurolproxy.connect.tools import TOOLS
from kurolproxy.connect.wanted import KEY_VARIABLE, SHELL, ModelFacts, Step, Wanted
from tests.clients.running import Bench, Ran


@dataclass(frozen=True, slots=True)
class Printed:
    """The steps for one tool.

    Attributes:
        key: what the texts read from the environment; None: it stands in them.
    """

    steps: list[Step]
    key: str | None

    def write(self, home: Path, work: Path) -> None:
        """Write the files: those below ``~``, and programs into the working folder."""
        for step in self.steps:
            if step.where == SHELL or step.language == "settings":
                continue
            name = step.where.removeprefix("~/")
            path = (home if name != step.where else work) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text + "\n")

    @property
    def commands(self) -> list[str]:
        """What is typed into a shell, in order."""
        return [step.text for step in self.steps if step.where == SHELL]

    async def run(self, bench: Bench, *last: str, env: dict[str, str] | None = None) -> Ran:
        """Write the files and type the commands.

        Args:
            last: takes the place of the last command.
        """
        self.write(bench.home, bench.work)
        script = "\n".join(["set -e", *self.commands[:-1], *last])
        known = {} if self.key is None else {KEY_VARIABLE: self.key}
        return await bench.type(script, env={**known, **(env or {})})


def printed(tool: str, base_url: str, model: str, key: str, *, in_text: bool) -> Printed:
    """Return the steps for a tool.

    Args:
        in_text: the key stands in the texts, otherwise in the environment.
    """
    facts = ModelFacts(model, 200_000, 64_000, thinks=True)
    wanted = Wanted(base_url, facts, facts, key if in_text else None)
    return Printed(TOOLS[tool].steps(wanted), None if in_text else key)
