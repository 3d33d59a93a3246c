"""Documentation that fails when it is missing or wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kurolproxy.config.schema import every_key
from kurolproxy.metrics import Counter, Histogram, Metrics

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = ROOT / "config" / "kurolproxy.example.toml"
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def text() -> str:
    return "\n".join(each.read_text() for each in DOCS)


def test_every_configuration_key_is_in_the_example() -> None:
    example = EXAMPLE.read_text()
    missing = [key.name for key in every_key() if not re.search(rf"\b{key.name}\b", example)]
    assert missing == []


def test_every_metric_is_documented() -> None:
    metrics = Metrics()
    names = [each.name for each in vars(metrics).values() if isinstance(each, Counter | Histogram)]
    names += ["kurol_streams_in_flight", "kurol_build_info", "kurol_config_last_reload_successful"]
    documented = text()
    assert [name for name in names if name not in documented] == []


@pytest.mark.parametrize("page", DOCS, ids=[each.name for each in DOCS])
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target
