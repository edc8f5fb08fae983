"""What tests look at in a page: what fits, what can be read, what has the focus, how fluid it is."""

from __future__ import annotations

from typing import Any

from tests.browser import Browser

# Every text in sight, with the contrast that WCAG 2.1 computes from its colour and the ground it stands on.
_CONTRASTS = """
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((each) => linear(each / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const [r, g, b, alpha = 1] = numbers(getComputedStyle(each).backgroundColor);
    if (alpha === 1) return [r, g, b];
    if (alpha > 0) throw new Error("half transparent: " + each.outerHTML.slice(0, 100));
  }
  throw new Error("no ground");
};
const contrast = (element) => {
  const both = [numbers(getComputedStyle(element).color), ground(element)].map((rgb) => luminance(rgb.slice(0, 3)));
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const { data, parentElement } = walker.currentNode;
  if (!parentElement.checkVisibility({ visibilityProperty: true }) || parentElement.closest("noscript")) continue;
  if (data.trim()) found.push([data.slice(0, 60), contrast(parentElement)]);
}
return found;
"""

# What is wider inside than out, of the parts that must not be.
_TOO_WIDE = """
return [...document.querySelectorAll("html, #top, #list, #detail, #detail-content, .faults")]
    .filter((each) => each.checkVisibility() && each.scrollWidth > each.clientWidth)
    .map((each) => `${each.tagName} ${each.id} at ${innerWidth}: ${each.scrollWidth} in ${each.clientWidth}`);
"""

_PROBE = """
window.gaps = [];
window.tasks = [];
let before = performance.now();
const frame = () => {
  const now = performance.now();
  gaps.push(now - before);
  before = now;
  requestAnimationFrame(frame);
};
frame();
const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((each) => each.duration)));
observer.observe({ entryTypes: ["longtask"] });
"""
_MEASURED = """
const sorted = [...gaps].sort((one, other) => one - other);
return {
  frames: sorted.length,
  frame_p50_ms: sorted[sorted.length >> 1],
  frame_max_ms: sorted[sorted.length - 1],
  long_tasks: tasks.length,
  long_task_max_ms: Math.max(0, ...tasks),
  heap_mb: performance.memory.usedJSHeapSize / 1e6,
};
"""

# What a control may be called by.
_NAMELESS = """
const nameless = ["presentation", "search", "status", "alert", "option"];
return [...document.querySelectorAll("button, input, select, [role]")]
    .filter((each) => !nameless.includes(each.role))
    .filter((each) => !(each.ariaLabel || each.labels?.length || each.textContent.trim()))
    .map((each) => each.outerHTML);
"""


def assert_readable(page: Browser, at_least: int) -> None:
    """Every text in sight, of which there are so many, has the contrast that WCAG's level AA asks for."""
    contrasts = page.script(_CONTRASTS)
    assert len(contrasts) >= at_least
    assert [(text, round(contrast, 2)) for text, contrast in contrasts if contrast < 4.5] == []


def assert_fits(page: Browser) -> None:
    """Nothing is wider than its place."""
    assert page.script(_TOO_WIDE) == []
    wide, window = page.script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window


def assert_named(page: Browser) -> None:
    """Every control has a name for those who do not see it."""
    assert page.script(_NAMELESS) == []


def focused(page: Browser) -> str:
    """The id of what has the focus."""
    return str(page.script("return document.activeElement.id"))


def tab_to(page: Browser, id: str) -> None:
    """Press the tabulator until something has the focus."""
    for _ in range(25):
        if focused(page) == id:
            return
        page.press("TAB")
    raise AssertionError(f"{id} is not reached by the tabulator")


def in_sight(page: Browser) -> Any:
    """The lines of the list, and where they stand."""
    return page.script("""
        return [...document.querySelectorAll("#rows .row")]
            .map((row) => [row.querySelector(".sentence").textContent, row.getBoundingClientRect().top]);
    """)


def watch(page: Browser) -> None:
    """Measure from now on how fluid the page is."""
    page.script(_PROBE)


def watched(page: Browser) -> dict[str, float]:
    """Frames, the longest gap between two, tasks that held the page up, and the memory of its objects."""
    measured: dict[str, float] = page.script(_MEASURED)
    return measured
