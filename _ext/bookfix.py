"""Repairs what Jupyter Book 1.x and its theme leave broken: console errors, accessibility, weight, search.

Each entry of `REPAIRS` and `SEARCH` names its reason. `tests/test_browser.py` (those about weight:
`tests/test_book.py`) fails again where one is missing.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

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
        "names, numbers, operators and spaces need no color; their elements would be half of a lab's page",
        r'<span class="(?:n|o|p|w|mi|mf)">([^<]*)</span>',
        r"\1",
    ),
    (
        "the pieces of a string have one color and need one element",
        r'(<span class="s[12adei]">)([^<]*)((?:</span><span class="s[12adei]">[^<]*)+)</span>',
        lambda found: f"{found[1]}{found[2]}{re.sub('<[^>]*>', '', found[3])}</span>",
    ),
    ("an empty element opens each cell", r"<pre><span></span>", "<pre>"),
    (
        "no colors are set for the theme auto, which stands there until the scripts run, or for ever without them",
        r'(<html [^>]*data-theme=")auto"',
        r'\1light"',
    ),
    (
        "the reader's colors have to be known before anything is drawn",
        r'localStorage\.getItem\("theme"\) \|\| "auto"',
        '{light: "light", dark: "dark"}[localStorage.getItem("mode")]'
        ' || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")',
    ),
    (
        "the icons come as a font; their script is 1.5 MB and holds up the first text",
        r'\s*<script src="[^"]*scripts/fontawesome\.js[^"]*"></script>',
        "",
    ),
    (
        "one icon is no reason to load the font of all brands",
        r'<i class="fab fa-github">',
        '<i class="fas fa-code-branch">',
    ),
]


SEARCH = [  # (reason, what stands in Sphinx's searchtools.js, replacement)
    (
        "what only frames a page is no excerpt of it",
        '[".headerlink", "script", "style"]',
        '[".headerlink", "script", "style", "#jb-print-docs-body", ".companions", ".toctree-wrapper"]',
    ),
    (
        "the excerpt of a term is the term with its explanation",
        "if (anchorContent) return anchorContent.textContent;",
        """if (anchorContent && anchorContent.tagName === "DT") {
        const names = [];
        let node = anchorContent;
        while (node.previousElementSibling?.tagName === "DT") node = node.previousElementSibling;
        for (; node?.tagName === "DT"; node = node.nextElementSibling) names.push(node.textContent);
        return `${names.join(" · ")}: ${node?.textContent.trim()}`;
      }
      if (anchorContent) return anchorContent.textContent;""",
    ),
    (
        "line breaks would fill half an excerpt",
        "if (docContent) return docContent.textContent;",
        r'if (docContent) return docContent.textContent.replace(/\s+/g, " ").trim();',
    ),
    (
        "a hyphen makes no other term: named entity recognition",
        "entry.includes(queryLower) &&",
        'entry.replaceAll("-", " ").includes(queryLower.replaceAll("-", " ")) &&',
    ),
    (
        "of the pages that only mention a word, chapters come first, then labs; the others refer to them",
        "const score = Math.max(...wordList.map((w) => scoreMap.get(file)[w]));",
        r"""const rank = /^chapters\/\d/.test(docNames[file]) ? 2 : /^labs\//.test(docNames[file]) ? 1 : 0;
      const score = rank + Math.max(...wordList.map((w) => scoreMap.get(file)[w]));""",
    ),
]

MATH = 'class="math'
FIGURE = re.compile(r'<img (?P<before>[^>]*?)src="(?P<stem>(?:\.\./)*_images/[^"]+)\.png"(?P<after>[^>]*)>')


def choose_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave out the scripts that a page does not need.

    Those of thebe, which the book doesn't use, are added twice, a syntax error in the console. In the place of MathJax
    stands KaTeX 0.16.47 (MIT), an eighth of its size, and only on pages with formulas; `web/math.js` calls it.
    """

    def unneeded(script: Any) -> bool:
        text = getattr(script, "attributes", {}).get("body") or str(getattr(script, "filename", script))
        return any(name in text.lower() for name in ("thebe_js_url", "sphinx-thebe", "mathjax"))

    context["script_files"] = [script for script in context["script_files"] if not unneeded(script)]
    if MATH in (context.get("body") or ""):
        root = context["pathto"]("", 1)
        context["metatags"] = context.get("metatags", "") + (
            f'\n<link rel="stylesheet" href="{root}vendor/katex/katex.min.css" />'
            f'<script defer src="{root}vendor/katex/katex.min.js"></script><script defer src="{root}math.js"></script>'
        )


def repair(html: str) -> str:
    """Apply all repairs to one page; applying them twice changes nothing more."""
    for _, pattern, replacement in REPAIRS:
        html = re.sub(pattern, replacement, html)
    return html


@cache
def webp(path: Path) -> tuple[int, int]:
    """Write the WebP of a PNG beside it, a fifth of its bytes; returns width and height.

    Colors are rounded to 18 levels per channel, which moves none by more than 7 of 255, and then stored without loss.
    """
    target = path.with_suffix(".webp")
    with Image.open(path) as image:
        if not target.is_file() or target.stat().st_mtime < path.stat().st_mtime:
            opaque = image.mode != "RGBA" or image.getextrema()[3][0] == 255
            image = image.convert("RGB" if opaque else "RGBA")
            rounded = image.point([round(value / 15) * 15 for value in range(256)] * len(image.getbands()))
            rounded.save(target, lossless=True, quality=80)
        return image.size


def lighter(html: str, folder: Path) -> str:
    """Let the figures of a page in `folder` load as WebP when they come near, in the space that they will need."""
    seen = 0

    def tag(found: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        width, height = webp((folder / f"{found['stem']}.png").resolve())
        later = ' loading="lazy"' if seen > 1 else ""
        size = f'width="{width}" height="{height}"'
        return f'<img {found["before"]}src="{found["stem"]}.webp" {size}{later}{found["after"]}>'

    return FIGURE.sub(tag, html)


def needed(style: str, words: set[str]) -> str:
    """The rules of a style sheet that can apply to pages and scripts made of `words`; of the theme's, a quarter."""

    def rule(found: re.Match[str]) -> str:
        selectors, body = found.groups()
        if selectors.lstrip().startswith("@"):
            return found[0]
        kept = []
        for selector in re.split(r",(?![^()]*\))", selectors):
            plain = re.sub(r":(?:not|is|where|has)\((?:[^()]|\([^()]*\))*\)", "", selector)
            if set(re.findall(r"\.(-?[A-Za-z_][\w-]*)", plain)) <= words:
                kept.append(selector)
        return f"{','.join(kept)}{{{body}}}" if kept else ""

    return re.sub(r"([^{}]+)\{([^{}]*)\}", rule, re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL))


def mend_search(script: Path) -> None:
    """Apply `SEARCH`, unless an earlier build has; a piece that Sphinx no longer has is a warning."""
    text = script.read_text(encoding="utf-8")
    for reason, old, new in SEARCH:
        if new in text:
            continue
        if old not in text:
            logger.warning("searchtools.js has changed: %s", reason, type="course", subtype="search")
        text = text.replace(old, new, 1)
    script.write_text(text, encoding="utf-8")


def repair_output(app: Sphinx, exception: Exception | None) -> None:
    """Repair every written page, the theme's style sheets and the search."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    words: set[str] = set()
    for page in out.rglob("*.html"):
        old = page.read_text(encoding="utf-8")
        new = lighter(repair(old), page.parent)
        words.update(re.findall(r"[\w-]+", new))
        if new != old:
            page.write_text(new, encoding="utf-8")
    mend_search(out / "_static" / "searchtools.js")
    # Chromium fetches this import ahead from a wrong address, an error in the console, so it is put in place.
    theme = out / "_static" / "styles" / "theme.css"
    basic = (out / "_static" / "basic.css").read_text(encoding="utf-8")
    style = theme.read_text(encoding="utf-8").replace('@import "../basic.css";', basic)
    theme.write_text(style, encoding="utf-8")
    for script in (out / "_static").rglob("*.js"):
        if script.name != "fontawesome.js":
            words.update(re.findall(r"[\w-]+", script.read_text(encoding="utf-8")))
    for sheet in (out / "_static").rglob("*.css"):
        sheet.write_text(needed(sheet.read_text(encoding="utf-8"), words), encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("html-page-context", choose_scripts, priority=900)
    app.connect("build-finished", repair_output)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
