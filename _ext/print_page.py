"""The whole book on one page, for printing or saving as PDF: `print.html`, made from the built pages.

Labs and the ledger stay out: on paper nobody runs the one or filters the other. Links to them lead to their pages,
links between the pages that are in it stay inside.
"""

import os.path
import re
from html import escape
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

NAME = "print.html"
STAY_OUT = re.compile(r"index|chapters/claims|labs/.*")
STYLE = """
body { display: block; padding: 0; }
main { margin: 0 auto; max-width: 46rem; overflow-wrap: anywhere; padding: 1rem; }
main .bd-article { padding: 0; }
main .bd-article pre { white-space: pre-wrap; } /* on paper nothing scrolls */
.print-title { margin: 3rem 0; }
.print-title p { color: var(--pst-color-text-muted); font-size: 1.25rem; }
.print-title ul { line-height: 1.8; list-style: none; margin: 3rem 0; padding: 0; }
.companions, .headerlink, .toctree-wrapper { display: none; }
@page :first { @bottom-center { content: none; } }
@media print {
  main { max-width: none; padding: 0; }
  .print-title { margin: 4cm 0 0; }
  .bd-article { break-before: page; }
}
"""


def pages(app: Sphinx) -> list[str]:
    """The pages of the book in their order, without those that stay out."""
    order = [app.config.root_doc]
    for page in order:
        order += [child for child in app.env.toctree_includes.get(page, []) if child not in order]
    return [page for page in order if not STAY_OUT.fullmatch(page)]


def name(page: str) -> str:
    """What the ids of a page begin with: "01-pretraining"."""
    return PurePosixPath(page).name


def inside(html: str, page: str, included: list[str]) -> str:
    """The article of a page with its ids and addresses made to fit the one page."""
    article = html[html.index("<article") : html.index("</article>") + len("</article>")]
    article = re.sub(r"<script.*?</script>", "", article, flags=re.DOTALL)
    article = re.sub(r'<a class="headerlink".*?</a>', "", article, flags=re.DOTALL)
    article = re.sub(r'(<a\b[^>]*?) title="[^"]*"', r"\1", article)  # paper shows no hints
    article = re.sub(r"<details(?! open)", "<details open", article)
    start = name(page)
    article = re.sub(r' (id|for|aria-labelledby|aria-describedby)="', rf' \1="{start}--', article)

    def moved(found: re.Match[str]) -> str:
        attribute, target = found.groups()
        if re.match(r"[a-z]+:", target):
            return found[0]
        path, _, anchor = target.partition("#")
        path = os.path.normpath(PurePosixPath(page).parent / path) if path else f"{page}.html"
        if path.removesuffix(".html") in included:
            inner = name(path.removesuffix(".html"))
            return f' {attribute}="#{inner}--{anchor}"' if anchor else f' {attribute}="#{inner}"'
        return f' {attribute}="{path}#{anchor}"' if anchor else f' {attribute}="{path}"'

    article = re.sub(r' (href|src)="([^"]*)"', moved, article)
    return article.replace("<article", f'<article id="{start}"', 1)


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the page from the pages as they were built and repaired."""
    if exception or app.builder.format != "html":
        return
    out, included = Path(app.outdir), pages(app)
    if not included:
        return
    articles = [
        inside((out / f"{page}.html").read_text(encoding="utf-8"), page, included) for page in included
    ]
    first = (out / f"{included[0]}.html").read_text(encoding="utf-8")
    styles = re.findall(r'<link [^>]*href="(?:\.\./)*(_static/[^"]*\.css[^"]*)"', first)
    formulas = ""
    if any('class="math' in article for article in articles):
        styles.append("vendor/katex/katex.min.css")
        formulas = (
            '<script defer src="vendor/katex/katex.min.js"></script><script defer src="math.js"></script>'
        )
    links = "".join(f'<link rel="stylesheet" href="{style}">' for style in styles)
    titles = "".join(
        f'<li><a href="#{name(page)}">{escape(app.env.titles[page].astext())}</a></li>' for page in included
    )
    title = escape(app.config.html_title)
    head, _, rest = title.partition(": ")
    text = (
        '<!DOCTYPE html>\n<html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{title}: print version</title>"
        f'<link rel="icon" href="_static/favicon.svg">{links}{formulas}<style>{STYLE}</style></head>\n'
        f'<body><main><header class="print-title"><h1>{head}</h1><p>{rest}</p><ul>{titles}</ul>'
        "All chapters on one page, to be printed or saved as PDF by the browser. The labs and the ledger are on "
        '<a href="index.html">the pages of the book</a>.'
        f"</header>\n{''.join(articles)}</main></body></html>\n"
    )
    (out / NAME).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("build-finished", write, priority=900)  # after the repairs
    return {"parallel_read_safe": True, "parallel_write_safe": True}
