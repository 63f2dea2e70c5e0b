"""What a browser finds about a page: breaches of the policy, errors, what axe-core says, what does not fit."""

from dataclasses import dataclass, field
from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Error, Page

DJANGOS: Final = (".breadcrumbs", "#searchbar")
"""What is Django's own, markup and colours, and has findings on Django's own pages, too."""

SERIOUS: Final = frozenset({"serious", "critical"})

_TELL: Final = """
addEventListener("securitypolicyviolation", (event) => {
    // axe-core sets styles of its own while it looks.
    if (!window.axe) console.error(`policy: ${event.effectiveDirective} at ${event.sourceFile}:${event.lineNumber}`);
});
"""

_BROWSERS_OWN: Final = "violates the following Content Security Policy directive"
"""In what the browser itself says of a breach, which the listener tells, too."""

_OVERFLOW: Final = """
() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const sticksOut = (box) => box.width && (box.right > width + 1 || box.left < -1);
    return ["page " + document.documentElement.scrollWidth + " > " + width,
        ...[...document.querySelectorAll("body *")].filter((one) => sticksOut(one.getBoundingClientRect()))
            .slice(0, 8).map((one) => one.outerHTML.slice(0, 160))];
}
"""


_CRAMPED: Final = """
() => [...document.querySelectorAll("#content button, #content input[type=submit], .nateq-hint, .nateq-more")]
    .filter((one) => !one.classList.contains("nateq-as-link") && one.getClientRects().length)
    .filter((one) => parseFloat(getComputedStyle(one).paddingInlineStart) < 6)
    .map((one) => one.outerHTML.slice(0, 160))
"""

_SETTLED: Final = """
async () => {
    // A changed colour scheme is faded in: half-way the colours are of neither theme.
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    await Promise.allSettled(document.getAnimations().map((animation) => animation.finished));
}
"""


@dataclass
class Watched:
    """A page and all that it has complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(_TELL)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_error)

    def _on_console(self, message: ConsoleMessage) -> None:
        is_ours = not message.location["url"].endswith("/favicon.ico")  # which every browser asks for
        if message.type in ("error", "warning") and is_ours and _BROWSERS_OWN not in message.text:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _on_error(self, error: Error) -> None:
        self.complaints.append(f"{self.page.url}: {error.message}")


def overflow(page: Page) -> list[str]:
    """Return what makes the page wider than its window; empty when all fits."""
    found: list[str] = page.evaluate(_OVERFLOW)
    return found


def cramped(page: Page) -> list[str]:
    """Return the visible buttons and coloured hints whose text touches their edge."""
    found: list[str] = page.evaluate(_CRAMPED)
    return found


def barriers(page: Page, *, within: str = "") -> list[str]:
    """Return what axe-core finds in our parts of a page that is serious or critical, a line per element.

    `within` is a selector of the parts to look at, where not all but Django's own is.
    """
    parts = {"include": [[within]]} if within else {"exclude": [[one] for one in DJANGOS]}
    asked = {"resultTypes": ["violations"], "preload": False}
    page.evaluate(_SETTLED)
    results: dict[str, Any] = Axe().run(page, parts, asked).response
    return [
        f"{found['id']} ({found['impact']}) at {' '.join(map(str, node['target']))}: {node['html'][:200]}"
        for found in results["violations"]
        if found["impact"] in SERIOUS
        for node in found["nodes"]
    ]
