"""What is looked for in every page: axe's rules, the width, and the way through it by keyboard."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Page

_AXE = Path(__file__).parent / "vendor" / "axe.min.js"
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_MOST_STOPS = 400

# Everything that Tab should reach: of a group of radio buttons it reaches one.
_REACHABLE = """() => {
  const groups = new Set();
  return [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]"
  )].filter((each) => {
    if (each.tabIndex < 0 || each.disabled || !each.checkVisibility()) return false;
    if (each.type !== "radio") return true;
    const known = groups.has(each.name);
    groups.add(each.name);
    return !known;
  }).map((each, place) => {
    const own = `${place} ${each.outerHTML.slice(0, 90)}`;
    each.dataset.stop = each.type === "radio" ? `radio ${each.name}` : own;
    return each.dataset.stop;
  });
}"""
_HERE = """() => {
  const here = document.activeElement;
  if (!here || here === document.body) return null;
  const box = here.getBoundingClientRect();
  const name = here.type === "radio" ? `radio ${here.name}` : here.dataset.stop;
  const style = getComputedStyle(here);
  return {
    name: name ?? here.outerHTML.slice(0, 90),
    outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    inSight: box.width > 0 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth,
  };
}"""


@cache
def _axe() -> str:
    return _AXE.read_text()


async def violations(page: Page) -> list[str]:
    """Return what axe finds: rule and element, one text each."""
    await page.evaluate(_axe() + "; 0")
    options = {"runOnly": _TAGS, "resultTypes": ["violations"], "preload": False}
    found: dict[str, Any] = await page.evaluate("(options) => axe.run(document, options)", options)
    return [
        f"{rule['id']}: {node['html'][:160]}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


async def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    wide: int = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return max(0, wide)


async def unreached(page: Page) -> list[str]:
    """Walk through a page by Tab; return what was left out or could not be seen on the way."""
    wanted: list[str] = await page.evaluate(_REACHABLE)
    wrong, seen = [], []
    for _ in range(_MOST_STOPS):
        await page.keyboard.press("Tab")
        here = await page.evaluate(_HERE)
        if here is None or (seen and here["name"] == seen[0]):
            break
        if seen and here["name"] == seen[-1]:
            # A part of a date's field: what the browser draws there is its own.
            continue
        seen.append(here["name"])
        if not here["outlined"]:
            wrong.append(f"no outline: {here['name']}")
        if not here["inSight"]:
            wrong.append(f"out of sight: {here['name']}")
    wrong += [f"not reached: {each}" for each in wanted if each not in seen]
    order = [each for each in seen if each in wanted]
    if order != sorted(order, key=wanted.index):
        wrong.append(f"out of order: {order}")
    return wrong
