"""Every page in a real browser: light, dark and on a phone, without errors, foreign requests or barriers.

Needs Chromium or Chrome (`apt-get install chromium`) beside the Python packages playwright and axe-playwright-python.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.built_book import built_book, pages

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
# Colors that are on their way from one theme to the other have no contrast to speak of.
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
ALLOWED = {  # axe-core rule -> why the book may break it
    "label-content-name-mismatch": "the theme switch shows a glyph of an icon font, which no name can hold",
}

OVERFLOW = "Math.max(0, document.scrollingElement.scrollWidth - innerWidth)"
MATH_ERRORS = """[
    ...[...document.querySelectorAll("svg [data-mjx-error]")].map((node) => node.dataset.mjxError),
    ...[...document.querySelectorAll("[data-mml-node=mtext][fill=red]")].map(() => "undefined macro"),
]"""
SETTLED = """async () => {
    await document.fonts.ready;
    if (window.MathJax?.startup) await MathJax.startup.promise;
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a local server with the pages of the book."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built_book())))
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


def barriers(page: Any) -> list[str]:
    """What axe-core finds on the page, one line per rule and element."""
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {' '.join(node['html'].split())[:200]}"
        for rule in violations
        if rule["id"] not in ALLOWED
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_pages(browser: Any, address: str, view: str) -> None:
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
    book = built_book()
    for path in pages(book):
        name = path.relative_to(book).as_posix()
        page.goto(address + name, wait_until="load")
        page.add_style_tag(content=STILL)
        page.evaluate(SETTLED)
        if overflow := page.evaluate(OVERFLOW):
            problems.append(f"{overflow} pixels wider than the screen")
        problems += [f"formula: {error}" for error in page.evaluate(MATH_ERRORS)]
        problems += barriers(page)
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
