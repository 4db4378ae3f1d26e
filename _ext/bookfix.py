"""Repairs what Jupyter Book 1.x and its theme leave broken in the pages: console errors, accessibility, weight.

Each entry of `REPAIRS` names its reason. `tests/test_browser.py` (the last one: `tests/test_book.py`) fails again where
one is missing.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

REPAIRS = [  # (reason, pattern, replacement)
    (
        "the role doc-biblioentry is deprecated, and its parent is a list",
        r'role="doc-biblioentry"',
        'role="listitem"',
    ),
    ("the corner of a pandas table is no header", r"<th></th>", "<td></td>"),
    (
        "the box of a task list has no name",
        r'<input class="task-list-item-checkbox"(?! aria-label)',
        '<input class="task-list-item-checkbox" aria-label="Task"',
    ),
    (
        "the arrow that opens a part of the contents has no name",
        r'<summary>(?=<span class="toctree-toggle")',
        '<summary aria-label="Show subpages">',
    ),
    (
        "the book's title stands outside every landmark",
        r'<div(?= (?:id="pst-primary-sidebar" )?class="bd-sidebar-primary bd-sidebar)',
        '<div role="complementary" aria-label="Book contents"',
    ),
    (
        "a table that scrolls can't be reached by the keyboard (theme 1.1; later ones take this back where not needed)",
        r'<div class="pst-scrollable-table-container">',
        '<div class="pst-scrollable-table-container" tabindex="0">',
    ),
    (
        "the name of a button should hold the words it shows",
        r'(<button class="btn search-button-field[^>]*?) aria-label="Search"',
        r"\1",
    ),
    (
        "the name of a toggle should hold the words it shows",
        r'<summary aria-label="Toggle hidden content">',
        "<summary>",
    ),
    (
        "names, punctuation and spaces have the color of all code; their elements would be half of a lab's page",
        r'<span class="(?:n|p|w)">([^<]*)</span>',
        r"\1",
    ),
]


def drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Remove the scripts of thebe, which the book doesn't use: they are added twice, a syntax error in the console."""

    def belongs_to_thebe(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "THEBE_JS_URL" in body or "sphinx-thebe" in str(getattr(script, "filename", script))

    context["script_files"] = [script for script in context["script_files"] if not belongs_to_thebe(script)]


def repair(html: str) -> str:
    """Apply all repairs to one page; applying them twice changes nothing more."""
    for _, pattern, replacement in REPAIRS:
        html = re.sub(pattern, replacement, html)
    return html


def repair_output(app: Sphinx, exception: Exception | None) -> None:
    """Repair every written page and the theme's style sheet."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for page in out.rglob("*.html"):
        old = page.read_text(encoding="utf-8")
        new = repair(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
    # Chromium fetches this import ahead from a wrong address, an error in the console, so it is put in place.
    theme = out / "_static" / "styles" / "theme.css"
    basic = (out / "_static" / "basic.css").read_text(encoding="utf-8")
    style = theme.read_text(encoding="utf-8").replace('@import "../basic.css";', basic)
    theme.write_text(style, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", repair_output)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
