"""Every page in a real browser: light, dark and on a phone, without errors, foreign requests or barriers.

Needs Chromium or Chrome (`apt-get install chromium`) beside the Python packages playwright and axe-playwright-python.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.built_book import pages

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="the package axe-playwright-python is not installed"
)

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
# All rules of axe-core are asked in the first view, and of the others those that colors or widths can change.
COLORS = ["color-contrast", "link-in-text-block"]
RULES = {
    "dark": COLORS,
    "phone": ["scrollable-region-focusable", "target-size"],
}
# Long pages whose kinds of elements all stand on others: colors, which take most of the time, are asked there.
ALIKE = re.compile(r"labs/(?!01)|print\.html")
# Colors that are on their way from one theme to the other have no contrast to speak of.
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
ALLOWED = {  # axe-core rule -> why the book may break it
    "label-content-name-mismatch": "the theme switch shows a glyph of an icon font, which no name can hold",
}

OVERFLOW = "Math.max(0, document.scrollingElement.scrollWidth - innerWidth)"
MATH_ERRORS = """[
    ...[...document.querySelectorAll(".katex-error")].map((node) => node.title),
    ...[...document.querySelectorAll(".math")].filter((node) => !node.querySelector(".katex")).map(() => "not drawn"),
]"""
SETTLED = "() => document.fonts.ready.then(() => true)"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def address(book: Path) -> Iterator[str]:
    """Address of a local server with the pages of the book."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser found: none of {', '.join(names)} is on the PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


def barriers(page: Any, rules: list[str] | None, colors: bool) -> list[str]:
    """What axe-core finds on the page, one line per rule and element; `rules`: only of these."""
    if rules == COLORS and not colors:
        return []
    options = {"resultTypes": ["violations"], "rules": {rule: {"enabled": colors} for rule in COLORS}}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    violations = axe.Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {' '.join(node['html'].split())[:200]}"
        for rule in violations
        if rule["id"] not in ALLOWED
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_pages(browser: Any, address: str, book: Path, view: str) -> None:
    context = browser.new_context(**VIEWS[view])
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((address, "data:")) else problems.append(f"request: {request.url}")
        ),
    )
    found = []
    for path in pages(book):
        name = path.relative_to(book).as_posix()
        page.goto(address + name, wait_until="load")
        page.add_style_tag(content=STILL)
        page.evaluate(SETTLED)
        if overflow := page.evaluate(OVERFLOW):
            problems.append(f"{overflow} pixels wider than the screen")
        problems += [f"formula: {error}" for error in page.evaluate(MATH_ERRORS)]
        problems += barriers(page, RULES.get(view), colors=not ALIKE.match(name))
        found += [f"{name}: {problem}" for problem in problems]
        problems.clear()
    context.close()
    assert not found, "\n".join(found)


def test_ledger_filter(browser: Any, address: str) -> None:
    page = browser.new_page(**VIEWS["phone"])
    page.goto(address + "chapters/claims.html")
    rows, count = page.locator("li.claim:visible"), page.locator(".claims-filter [role=status]")
    total = rows.count()
    assert count.inner_text() == f"{total} of {total} rows"

    page.get_by_label("Section").select_option(label="Pretraining")
    assert rows.count() == page.locator("li.claim.pt").count() < total
    page.get_by_label("Status").select_option(label="cited")
    assert rows.count() == page.locator("li.claim.pt.cited").count()
    page.get_by_label("Words").fill("WORD2VEC no-such-word")
    assert (rows.count(), count.inner_text()) == (0, f"0 of {total} rows")

    page.goto(address + "chapters/claims.html#claim-ad-01")  # a link to a hidden row shows it
    assert page.locator("#claim-ad-01").is_visible()
    assert rows.count() == total
    page.close()


def test_ledger_reads_without_scripts(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + "chapters/claims.html")
    assert page.locator("#claim-pt-01").is_visible()
    assert not page.locator(".claims-filter").is_visible()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1200, 800), (390, 844)])
def test_landing_shows_a_result_and_where_to_start(
    browser: Any, address: str, size: tuple[int, int], theme: str
) -> None:
    """All of the picture, its numbers and the links stand on the first screen."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page.goto(address)
    places = page.locator(".hero figure img, .hero a.quoted, .starts a")
    assert places.count() == 1 + 2 + 4
    for place in places.all():
        box = place.bounding_box()
        assert box["y"] > 0 and box["y"] + box["height"] <= size[1], place.text_content()
    assert page.locator(".hero img").evaluate("image => image.complete && image.naturalWidth > 0")
    page.close()


SEARCHES = {  # what is searched for -> beginning of the best result's address, words of its excerpt
    "slanted triangular": ("chapters/glossary.html#term-slanted-triangular", "rate"),
    "perplexity": ("chapters/glossary.html#term-perplexity", "困惑度: "),
    "catastrophic forgetting": ("chapters/glossary.html#term-catastrophic-forgetting", "灾难性遗忘: "),
    "named entity recognition": ("chapters/glossary.html#term-named-entity-recognition", ": "),
    "few shot learning": ("chapters/glossary.html#term-few-shot-learning", ": "),
    "LoRA": ("chapters/glossary.html#term-LoRA", ": "),
    "ULMFiT": ("chapters/glossary.html#term-ULMFiT", ": "),
    "BERT": ("chapters/glossary.html#term-BERT", ": "),
    "Hits@1": ("chapters/glossary.html#term-Hits-1", ": "),
    "困惑度": ("chapters/glossary.html#term-", "perplexity · 困惑度: "),
    "迁移学习": ("chapters/glossary.html#term-", "transfer learning · 迁移学习: "),
    "微调": ("chapters/glossary.html#term-", "fine-tuning · 微调: "),
    "WEAT": ("chapters/05-open-problems.html", "WEAT"),
    "emojis": ("chapters/01-pretraining.html", "emojis"),
    "wav2vec no such word": ("", ""),
}
RESULTS = "#search-results ul.search > li"


@pytest.mark.parametrize("words", SEARCHES)
def test_search_finds_the_best_page_first(browser: Any, address: str, words: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}search.html?q={quote(words)}")
    page.wait_for_function("/found|match/.test(document.querySelector('.search-summary')?.textContent)")
    start, excerpt = SEARCHES[words]
    if not start:
        assert page.locator(RESULTS).count() == 0
    else:
        first = page.locator(RESULTS).first
        assert first.locator("a").get_attribute("href").startswith(start)
        assert excerpt.lower() in first.locator(".context").inner_text().lower()
        for text in page.locator(f"{RESULTS} .context").all_inner_texts():
            assert "Contents" not in text[:80], text
    page.close()


def test_search_opens_by_the_keyboard(browser: Any, address: str) -> None:
    page = browser.new_page(**VIEWS["light"])
    page.goto(address + "chapters/glossary.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("adapter")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=adapter*")
    page.close()


EARLY = """new MutationObserver((_, observer) => {
    if (!document.body) return;
    window.early = document.documentElement.dataset.theme;
    observer.disconnect();
}).observe(document, {childList: true, subtree: true});"""


def test_theme_is_known_before_anything_is_drawn(browser: Any, address: str) -> None:
    context = browser.new_context(**VIEWS["dark"])
    context.add_init_script(EARLY)
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("window.early") == "dark"
    for _ in range(3):  # through the three settings, until the reader has chosen light
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "light":
            break
    page.goto(address + "chapters/glossary.html")
    assert page.evaluate("window.early") == "light"
    context.close()


FOCUS = """() => {
    const node = document.activeElement, style = getComputedStyle(node), box = node.getBoundingClientRect();
    const seen = style.outlineStyle !== "none" || style.boxShadow !== "none" || style.borderStyle !== "none";
    return {name: node.textContent.trim() || node.ariaLabel || node.title, seen, size: box.width * box.height};
}"""


def test_keyboard_reaches_the_text_and_shows_where_it_is(browser: Any, address: str) -> None:
    page = browser.new_page(**VIEWS["light"])
    page.goto(address)
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate(FOCUS)["name"]
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    reached = []
    for _ in range(12):
        focus = page.evaluate(FOCUS)
        assert focus["seen"] and focus["size"] > 0, focus
        reached.append(focus["name"])
        page.keyboard.press("Tab")
    starts = page.locator(".starts a").all_inner_texts()
    assert [name for name in reached if name in starts] == starts
    page.close()


def test_pages_read_without_scripts(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, **VIEWS["phone"])
    page = context.new_page()
    page.goto(address + "chapters/01-pretraining.html")
    question, answer = page.locator("details summary").first, page.locator("details p").first
    assert not answer.is_visible()
    question.click()
    assert answer.is_visible()
    assert page.locator("a.right-next").is_visible() and page.locator(".companions a").first.is_visible()
    assert page.locator("figure img").first.is_visible()
    context.close()


def test_on_paper_answers_are_open_and_colors_light(browser: Any, address: str) -> None:
    page = browser.new_page(**VIEWS["dark"])
    page.goto(address + "chapters/00-introduction.html")
    folded = page.locator("details:not([open])")
    count = folded.count()
    assert count > 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert folded.count() == 0
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert not page.locator(".bd-sidebar-primary").is_visible()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert folded.count() == count
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.close()
