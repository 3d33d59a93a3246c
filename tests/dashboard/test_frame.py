"""What holds for all templates: texts can be translated, nothing breaks the policy."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from gettext import NullTranslations
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

from kurolproxy.app import Surroundings
from tests.browser.pages import PAGES, Examples, furnish
from tests.browser.sites import Site, serving

FOLDER = Path(__file__).parent.parent.parent / "kurolproxy" / "dashboard"
TEMPLATES = sorted((FOLDER / "templates").rglob("*.html"))
NAMES = [each.relative_to(FOLDER / "templates").as_posix() for each in TEMPLATES]


# --- what the policy and htmx forbid ----------------------------------------------------


FORBIDDEN = {
    "an event handler": r"<[^>]*\son\w+\s*=",
    "a style of its own": r"<[^>]*\sstyle\s*=|<style",
    "a script within the page": r"<script(?![^>]*\ssrc=)[^>]*>",
    "htmx with code": r"""hx-on|hx-vars|hx-vals=["']js:|["']javascript:|["']js:""",
    "a trigger with a condition, which is code": r"""hx-trigger=["'][^"']*\[""",
    "another host": r"""(?:src|href|action)=["'](?:https?:)?//""",
    "text that is not escaped": r"\|\s*safe\b|autoescape\s+false|Markup\(",
}


@pytest.mark.parametrize("what", list(FORBIDDEN))
@pytest.mark.parametrize("name", NAMES)
def test_template_has_nothing_that_the_policy_forbids(name: str, what: str) -> None:
    text = re.sub(r"{#.*?#}", "", (FOLDER / "templates" / name).read_text(), flags=re.DOTALL)
    assert re.findall(FORBIDDEN[what], text) == []


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "static").glob("*.js")), ids=lambda each: each.name
)
def test_script_makes_no_code_and_no_markup_of_texts(path: Path) -> None:
    code = r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write"
    assert re.findall(code, path.read_text()) == []


def test_dark_colours_are_the_same_by_choice_and_by_the_system() -> None:
    text = (FOLDER / "static" / "kurol.css").read_text()
    system = re.search(r':root:not\(\[data-theme="light"\]\) {(.*?)}', text, re.DOTALL)
    chosen = re.search(r':root\[data-theme="dark"\] {(.*?)}', text, re.DOTALL)
    light = re.search(r":root {(.*?)}", text, re.DOTALL)
    assert system is not None
    assert chosen is not None
    assert light is not None
    assert system[1].split() == chosen[1].split()
    colours = re.findall(r"(--[\w-]+): #", chosen[1])
    assert len(colours) > 15
    assert colours == re.findall(r"(--[\w-]+): #", light[1])


# --- every text goes through one function -----------------------------------------------


class Marking(NullTranslations):
    """Another language: every text stands in brackets."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"

    def pgettext(self, context: str, message: str) -> str:
        return f"⟦{message}⟧"


# What is no text of ours: names, data, units behind a number.
DATA = re.compile(
    r"""Maintenance\ on\ Sunday,\ 02:00-03:00\ UTC\.
    | [\w.+-]+@[\w.-]+ | Kurol\ Proxy | (?<!\w)(?:(?:demo|lab)(?:-\w+)?|echo|team|solo)(?!\w)
    | \d[\d.,\u2009\u202f]*\s?(?:ms|s|min|h|d|[kKMG]i?B|k|M|G)\b | \bUTC\b | \bCSV\b | \bAPI\b
    | Chat\ Completions | Responses | Messages | Gemini(?:\ CLI)? | OpenAI | Anthropic | Google
    | Claude\ Code | Codex | Cline | Roo\ Code | Kilo(?:\ Code)? | curl | Python | Node(?:\.js)?
    | PowerShell | bash | zsh | (?:pip|npm)\ install\ \S+
    | openai-chat | openai-responses | anthropic | gemini | OpenAPI | \bok\b | \boperator\b
    | \w+\.(?:json|toml) | \b(?:GET|POST|PATCH|DELETE)\b | (?:key|req|acc|link)_[\w…]+
    | \b[a-z]+_[a-z_]+\b | sk-kurol-\S+ | /\S+ | https?://\S+
    | \d{4}-\d\d-\d\d(?:T[\d:]+Z)? | \b[PT]\d\d\b""",
    re.VERBOSE,
)
# Elements whose text is code or data; so is what stands in the letters of code.
NO_WORDS = {"code", "pre", "kbd", "samp", "time", "script", "style", "textarea", "output"}
SPOKEN = ("aria-label", "title", "placeholder", "alt", "data-confirm", "data-copied", "data-label")
VOID = {"input", "meta", "link", "br", "hr", "img", "use", "path", "col", "wbr"}


class Words(HTMLParser):
    """Collects the words of a page that stand outside of the brackets."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._quiet = 0
        self._depth = 0
        self._open: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        classes = (named.get("class") or "").split()
        quiet = tag in NO_WORDS or "mono" in classes or named.get("translate") == "no"
        if not (self._quiet or quiet):
            for name in SPOKEN:
                self._take(named.get(name) or "", f"{tag} {name}")
        if tag not in VOID:
            self._open.append(quiet)
            self._quiet += quiet

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self._open:
            self._quiet -= self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self._take(data, "text")

    def _take(self, text: str, where: str) -> None:
        outside = []
        for each in text:
            # A marked text may have elements in its middle.
            self._depth += (each == "⟦") - (each == "⟧")
            outside.append(" " if self._depth or each == "⟧" else each)
        left = DATA.sub(" ", "".join(outside))
        if re.search(r"[^\W\d_]", left):
            self.found.append(f"{where}: {left.strip()[:80]}")


async def words_of(http: aiohttp.ClientSession, site: Site, path: str, token: str) -> list[str]:
    """Return the unmarked words of a page."""
    headers = {"cookie": f"kurol={token}"} if token else {}
    async with http.get(site.base_url + path, headers=headers) as answer:
        text = await answer.text()
        assert answer.content_type == "text/html", (path, answer.status)
        assert "⟦" in text
    parser = Words()
    parser.feed(text)
    return parser.found


@pytest.fixture
async def marked(tmp_path: Path) -> AsyncIterator[tuple[Site, Examples]]:
    """Yield a site in the language of brackets, with something on every page."""
    async with serving(tmp_path, around=Surroundings(translations=Marking())) as site:
        yield site, await furnish(site)


async def test_every_text_of_every_page_can_be_translated(
    marked: tuple[Site, Examples], http: aiohttp.ClientSession
) -> None:
    site, examples = marked
    left = []
    for path, route in PAGES.items():
        token = "" if route.needs == "nobody" else examples.token
        found = await words_of(http, site, examples.path(path), token)
        left += [f"{path} {each}" for each in dict.fromkeys(found)]
    assert left == [], "\n".join(left)
