"""Every page of the built book in Chromium: weight, time to the first text, layout shift (see README.md).

make book && python -m benchmarks.pages      # about 10 minutes; writes benchmarks/pages.json and pages.md
python -m benchmarks.pages --book folder --out other.json --repeats 1
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import shutil
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-quic",
]
VIEWS = {"screen": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
# Before anything is drawn: watch the paints and the shifts. A shift within half a second of an input does not count.
WATCH = """
window.shift = 0;
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""
SETTLED = "async () => { await document.fonts.ready; await new Promise((done) => setTimeout(done, 300)); }"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
TO_THE_END = """async () => {
    for (let y = 0; y < document.documentElement.scrollHeight; y += 3 * innerHeight) {
        scrollTo(0, y);
        await new Promise((done) => setTimeout(done, 30));
    }
    for (const image of document.images) {
        if (image.complete || !image.getClientRects().length) continue;
        image.scrollIntoView();
        await new Promise((done) => { image.onload = image.onerror = done; setTimeout(done, 1000); });
    }
    await new Promise((done) => setTimeout(done, 200));
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def served(book: Path) -> Iterator[str]:
    """Address of a local server of the pages; it does not compress."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@cache
def compressed(file: Path) -> int:
    """Bytes of a file as a server sends it that compresses text."""
    data = file.read_bytes()
    return len(gzip.compress(data, 6) if file.suffix in (".html", ".css", ".js", ".svg") else data)


def weight(book: Path, urls: set[str]) -> dict[str, int]:
    """Bytes of the fetched files.

    `own`: the page and its figures; `shared`: what all pages share and a browser keeps; `compressed`: both, compressed.
    """
    sizes = {"own": 0, "shared": 0, "compressed": 0}
    for path in {unquote(urlsplit(url).path).lstrip("/") for url in urls}:
        file = book / path
        if file.is_file():
            own = file.suffix == ".html" or path.startswith("_images/")
            sizes["own" if own else "shared"] += file.stat().st_size
            sizes["compressed"] += compressed(file)
    return sizes


def visit(browser: Any, book: Path, address: str, name: str, view: str) -> dict[str, float]:
    """One visit with an empty cache: open the page, wait, scroll to its end."""
    context = browser.new_context(viewport=VIEWS[view])
    context.add_init_script(WATCH)
    page = context.new_page()
    urls: set[str] = set()
    page.on("request", lambda request: urls.add(request.url))
    page.goto(address + name, wait_until="load")
    page.evaluate(SETTLED)
    opened = weight(book, urls)
    found = {
        "first_text_seconds": page.evaluate(PAINT) / 1000,
        "first_view": opened["own"] + opened["shared"],
    }
    page.evaluate(TO_THE_END)
    found |= weight(book, urls) | {"shift": page.evaluate("window.shift")}
    context.close()
    return found


def measure(book: Path, repeats: int, names: list[str] | None = None) -> list[dict[str, Any]]:
    """A row for each page and view: bytes, median seconds to the first text, largest shift."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    pages = sorted(path for path in book.rglob("*.html") if "_static" not in path.parts)
    names = names or [path.relative_to(book).as_posix() for path in pages]
    rows = []
    with served(book) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        for view in VIEWS:
            for name in names:
                visits = [visit(browser, book, address, name, view) for _ in range(repeats)]
                seconds = statistics.median(one["first_text_seconds"] for one in visits)
                rows.append(
                    {
                        "page": name,
                        "view": view,
                        "page_and_figures_bytes": visits[0]["own"],
                        "shared_bytes": visits[0]["shared"],
                        "first_view_bytes": visits[0]["first_view"],
                        "compressed_bytes": visits[0]["compressed"],
                        "first_text_seconds": round(seconds, 3),
                        "layout_shift": round(max(one["shift"] for one in visits), 4),
                    }
                )
        version = browser.version
        browser.close()
    for row in rows:
        row["browser"] = version
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each page with the larger of its views, the heaviest page first."""
    pages: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        pages.setdefault(row["page"], []).append(row)
    lines = [
        "| page | page and figures, MB | first view, MB | all, compressed, MB | first text, s | layout shift |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|")
    found = []
    for page, views in pages.items():
        largest = {key: max(row[key] for row in views) for key in views[0] if key not in ("page", "view")}
        sizes = (
            largest[key] / 1e6 for key in ("page_and_figures_bytes", "first_view_bytes", "compressed_bytes")
        )
        cells = [*(f"{size:.2f}" for size in sizes), f"{largest['first_text_seconds']:.2f}"]
        cells.append(f"{largest['layout_shift']:.3f}")
        found.append((-largest["page_and_figures_bytes"], f"| {page} | {' | '.join(cells)} |"))
    return "\n".join([*lines, *(line for _, line in sorted(found))]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--book", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pages.json"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pages", nargs="*", help="only these, for example index.html")
    chosen = parser.parse_args()
    rows = measure(chosen.book, chosen.repeats, chosen.pages)
    browser = {row.pop("browser") for row in rows}.pop()
    result = {
        "machine": platform.machine(),
        "browser": f"Chromium {browser}",
        "repeats": chosen.repeats,
        "pages": rows,
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    chosen.out.with_suffix(".md").write_text(table(rows), "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
