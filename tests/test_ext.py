"""The book's own Sphinx extensions, each in a book of one or two pages."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "_ext"))
import bookfix  # noqa: E402
import companions  # noqa: E402
import print_page  # noqa: E402

CONF = """
extensions = ["myst_parser", "sphinxcontrib.bibtex", "evidence_role", "claims_page", "citation_years"]
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
exclude_patterns = ["build"]
html_theme = "basic"
"""
BIB = """
@article{one2018, author = {One, Ann}, title = {First}, journal = {J}, year = {2018}}
@article{two2019, author = {Two, Bob}, title = {Second}, journal = {J}, year = {2019}}
"""
ROW: dict[str, Any] = {
    "id": "gap",
    "claim": "PT-02",
    "statement": "Pretraining helps.",
    "lab": "01_lab",
    "profile": "mini",
    "metric": "accuracy, tuned minus scratch",
    "unit": "accuracy",
    "estimate": 0.28,
    "ci95": [0.26, 0.3],
    "method": "bootstrap",
    "seeds": 10,
    "rule": "ci95[0] > 0",
    "verdict": "supported",
    "published": "",
    "source": "",
    "cell": "what-it-buys",
}


def claim(identifier: str, section: str, **fields: Any) -> dict[str, Any]:
    row = {"id": identifier, "section": section, "claim": f"Sentence of {identifier}.", "works": ["one2018"]}
    return {**row, "figures": [], "status": "open", "see": [], **fields}


CLAIMS = [
    claim("PT-01", "Pretraining", status="cited", figures=[{"text": "Error 5 < 7 %.", "tag": "NP"}]),
    claim("PT-02", "Pretraining", works=["one2018", "two2019"]),
    claim("S19-01", "Since 2019", status="cross-reference", see=["PT-01", "PT-02"]),
]


class Book:
    """A small book with a lab, a ledger page and evidence; `build` returns the warnings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pages = {
            "conf.py": CONF,
            "references.bib": BIB,
            "index.md": "# Book\n\n```{toctree}\nlabs/01_lab\nchapters/claims\n```\n\n```{bibliography}\n```\n",
            "labs/01_lab.md": "# Lab\n\n## What it buys\n\nText.\n",
            "chapters/claims.md": "# Ledger\n\n```{claims-ledger}\n```\n",
            "claims.yml": yaml.safe_dump(CLAIMS),
            "evidence/01_lab.json": json.dumps([ROW]),
        }
        for name, text in self.pages.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a file with a time of its own, so that a change within one tick of the clock is seen."""
        path = self.root / name
        last = path.stat().st_mtime_ns if path.exists() else 0
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if last:
            os.utime(path, ns=(last + 2_000_000_000, last + 2_000_000_000))

    def build(self) -> str:
        out = self.root / "build"
        warnings = io.StringIO()
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                self.root, self.root, out, out / "tree", "html", status=None, warning=warnings, parallel=0
            )
            app.build()
        return re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue())

    def html(self, page: str) -> str:
        return (self.root / "build" / f"{page}.html").read_text(encoding="utf-8")

    def row(self, identifier: str) -> str:
        """HTML of one row of the ledger."""
        return re.search(
            rf'<li class="claim [^>]*id="{identifier}">.*?</li>', self.html("chapters/claims"), re.S
        )[0]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def text(html: str) -> str:
    """Words of a piece of HTML, without its tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


# {ev}


def test_ev_quotes_the_number_and_links_to_the_lab(book: Book) -> None:
    book.write(
        "index.md", book.pages["index.md"] + "It is {ev}`01_lab/gap`, or {ev}`01_lab/gap:estimate:.0%`.\n"
    )
    assert book.build() == ""
    links = re.findall(r'<a class="quoted[^"]*" href="([^"]*)"[^>]*>([^<]*)</a>', book.html("index"))
    assert links == [("labs/01_lab.html#what-it-buys", text) for text in ("0.28 [0.26, 0.30]", "28%")]


def test_ev_without_a_lab_page_is_plain_text(book: Book) -> None:
    book.write("evidence/02_other.json", json.dumps([{**ROW, "lab": "02_other"}]))
    book.write("index.md", book.pages["index.md"] + "It is {ev}`02_other/gap`.\n")
    assert book.build() == ""
    assert '<span class="quoted">0.28 [0.26, 0.30]</span>' in book.html("index")


def test_ev_prints_a_minus_and_no_hyphen(book: Book) -> None:
    less = {"lab": "02_other", "estimate": -0.28, "ci95": [-0.3, -0.26], "verdict": "contradicted"}
    book.write("evidence/02_other.json", json.dumps([{**ROW, **less}]))
    book.write("index.md", book.pages["index.md"] + "It is {ev}`02_other/gap`.\n")
    assert book.build() == ""
    assert (
        '<span class="quoted">\N{MINUS SIGN}0.28 [\N{MINUS SIGN}0.30, \N{MINUS SIGN}0.26]</span>'
        in book.html("index")
    )


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("02_none/gap", "02_none"),
        ("01_lab/nothing", "names no row"),
        ("01_lab/gap:height", "names no field"),
        ("01_lab/gap:verdict:.2f", "does not fit"),
        ("gap", "not of the form"),
    ],
)
def test_ev_of_something_missing_is_one_warning_with_its_place(book: Book, reference: str, said: str) -> None:
    book.write("index.md", book.pages["index.md"] + f"It is {{ev}}`{reference}`.\n")
    (warning,) = book.build().splitlines()
    line = book.pages["index.md"].count("\n") + 1
    assert re.search(rf"index\.md:{line}: WARNING: .*{re.escape(said)}", warning)


def test_changed_evidence_is_noticed(book: Book) -> None:
    book.write("index.md", book.pages["index.md"] + "It is {ev}`01_lab/gap`.\n")
    book.build()
    book.write("evidence/01_lab.json", json.dumps([{**ROW, "estimate": 0.29}]))
    assert book.build() == ""
    assert "0.29 [0.26, 0.30]" in book.html("index")
    assert "0.29 [0.26, 0.30]" in book.row("claim-pt-02")


def test_new_and_removed_evidence_is_noticed(book: Book) -> None:
    (book.root / "evidence/01_lab.json").unlink()
    book.build()
    assert 'class="claim pt open"' in book.row("claim-pt-02")
    book.write("evidence/01_lab.json", json.dumps([ROW]))
    book.build()
    assert 'class="claim pt measured supported"' in book.row("claim-pt-02")
    (book.root / "evidence/01_lab.json").unlink()
    book.build()
    assert 'class="claim pt open"' in book.row("claim-pt-02")


# {claims-ledger}


def test_rows_say_what_they_rest_on(book: Book) -> None:
    assert book.build() == ""
    cited, measured, cross = (book.row(name) for name in ("claim-pt-01", "claim-pt-02", "claim-s19-01"))
    assert text(cited).startswith(
        "PT-01 cited Sentence of PT-01. Published: Error 5 &lt; 7 % (second-hand, from a table)"
    )
    assert 'href="../index.html#' in cited
    assert text(measured).startswith(
        "PT-02 measured Sentence of PT-02. supported 0.28 [0.26, 0.30] accuracy. Pretraining helps. "
        "accuracy, tuned minus scratch; bootstrap, 10 seeds; lab 01_lab"
    )
    assert 'href="../labs/01_lab.html#what-it-buys"' in measured
    assert text(cross).endswith("One [ 2018 ] . See PT-01 , PT-02 .")
    assert 'href="#claim-pt-01"' in cross


def test_counts_are_made_from_the_rows(book: Book) -> None:
    book.build()
    page = text(book.html("chapters/claims"))
    assert (
        "3 rows, 1 of them measured. Measurements: 1 (1 supported, 0 contradicted, 0 inconclusive)." in page
    )
    assert "Pretraining 1 1 – – – 2 Since 2019 – – – – 1 1 All 1 1 – – 1 3" in page


def test_ledger_needs_no_evidence(book: Book) -> None:
    (book.root / "evidence/01_lab.json").unlink()
    (book.root / "evidence").rmdir()
    assert book.build() == ""
    assert book.html("chapters/claims").count('<li class="claim ') == 3


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ("", "claims.yml should hold a list of claims and holds none."),
        ("- id: [", "claims.yml is not readable YAML"),
        (yaml.safe_dump([{"id": "PT-01"}]), "claims.yml, row 1: expected the keys id, section"),
        (
            yaml.safe_dump([claim("PT-01", "x", status="sure")]),
            "PT-01 has status 'sure'; use one of cited, open",
        ),
        (yaml.safe_dump([claim("PT-01", "x", figures=[{"text": "9", "tag": "M"}])]), "a figure tagged 'M'"),
        (yaml.safe_dump([claim("PT-01", "x")] * 2), "row 2: PT-01 stands there twice"),
        (yaml.safe_dump([claim("PT-01", "x", see=["PT-99"])]), "PT-01 refers to PT-99"),
        (yaml.safe_dump([claim("PT-01", "x")]), "01_lab.json: PT-02 is not an id of claims.yml"),
    ],
)
def test_bad_ledger_is_one_warning(book: Book, claims: str, said: str) -> None:
    book.write("claims.yml", claims)
    (warning,) = book.build().splitlines()
    assert "claims.md:3: WARNING: " in warning and said in warning


def test_missing_ledger_is_one_warning(book: Book) -> None:
    (book.root / "claims.yml").unlink()
    assert "claims.yml is missing" in book.build()


# {claim}


def test_claim_links_to_its_row(book: Book) -> None:
    book.write("index.md", book.pages["index.md"] + "See {claim}`PT-02`.\n")
    assert book.build() == ""
    link = re.search(r'<a class="claim-link[^>]*>PT-02</a>', book.html("index"))[0]
    assert 'href="chapters/claims.html#claim-pt-02"' in link and 'title="Sentence of PT-02."' in link


def test_unknown_claim_is_a_warning(book: Book) -> None:
    book.write("index.md", book.pages["index.md"] + "See {claim}`PT-77`.\n")
    assert re.search(r"index\.md:\d+: WARNING: PT-77 is not an id of claims\.yml\.", book.build())


# citation_years

ALIKE = """
@article{three2019b, author = {Three, Cy and Other, Di and More, Ed}, title = {B}, journal = {J}, year = {2019}}
@article{three2019a, author = {Three, Cy and Another, Flo and More, Ed}, title = {A}, journal = {J}, year = {2019}}
@article{three2020, author = {Three, Cy and Other, Di and More, Ed}, title = {C}, journal = {J}, year = {2020}}
@article{pair2019, author = {Three, Cy and Other, Di}, title = {D}, journal = {J}, year = {2019}}
"""
KEYS = ("one2018", "three2019a", "three2019b", "three2020", "pair2019")


def test_works_that_would_print_alike_get_letters_in_the_order_of_the_bibliography(book: Book) -> None:
    book.write("references.bib", BIB + ALIKE)
    cited = "".join(f"\n\n{{cite:t}}`{key}`\n" for key in KEYS)
    book.write("index.md", book.pages["index.md"] + cited)
    assert book.build() == ""
    body = text(book.html("index"))
    for shown in (
        "One [ 2018 ]",
        "Three et al. [ 2019a ]",
        "Three et al. [ 2019b ]",
        "Three et al. [ 2020 ]",
        "Three and Other [ 2019 ]",
    ):
        assert body.count(shown) == 1, shown
    assert re.search(r"A\. J , 2019a\..*B\. J , 2019b\.", body)  # the bibliography says the same


def test_letters_are_set_once_in_a_repeated_build(book: Book) -> None:
    book.write("references.bib", BIB + ALIKE)
    book.write("index.md", book.pages["index.md"] + "{cite:t}`three2019a`\n")
    book.build()
    book.write("index.md", book.pages["index.md"] + "Once more {cite:t}`three2019a,three2019b`.\n")
    assert book.build() == ""
    body = text(book.html("index"))
    assert "[ 2019a ]" in body and "[ 2019b ]" in body and "2019aa" not in body


# bookfix


@pytest.mark.parametrize("reason", [reason for reason, _, _ in bookfix.REPAIRS])
def test_repairs_settle_at_once(reason: str) -> None:
    page = """
        <html lang="en" data-theme="auto"><script>dataset.theme = localStorage.getItem("theme") || "auto";</script>
        <div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar">
        <button class="btn search-button-field b" title="Search" aria-label="Search">
        <summary><span class="toctree-toggle" role="presentation"></span></summary>
        <div class="pst-scrollable-table-container"><table><th></th></table></div>
        <input class="task-list-item-checkbox" type="checkbox">
        <div class="citation" role="doc-biblioentry"></div>
        <summary aria-label="Toggle hidden content">
        <script src="_static/scripts/fontawesome.js?digest=8"></script><i class="fab fa-github"></i>
        <pre><span></span><span class="n">world</span><span class="p">(</span><span class="mi">0</span></pre>
        <span class="sa">f</span><span class="s2">&quot;a </span><span class="si">{</span>b<span class="si">}</span>
    """
    (pattern,) = (pattern for name, pattern, _ in bookfix.REPAIRS if name == reason)
    assert re.search(pattern, page)
    repaired = bookfix.repair(page)
    assert not re.search(pattern, repaired)
    assert bookfix.repair(repaired) == repaired
    assert '<span class="sa">f&quot;a {</span>b<span class="si">}</span>' in repaired


def test_figures_get_their_size_and_a_lighter_file(tmp_path: Path) -> None:
    (tmp_path / "_images").mkdir()
    random = np.random.default_rng(0)
    pixels = np.repeat(random.integers(0, 255, (20, 30, 3), dtype=np.uint8), 4, axis=1)
    Image.fromarray(pixels).save(tmp_path / "_images" / "a.png")
    tag = '<img alt="a dot" src="_images/a.png" style="width: 60px;" />'
    first, second = bookfix.lighter(f"{tag}\n{tag}", tmp_path).splitlines()
    assert first == '<img alt="a dot" src="_images/a.webp" width="120" height="20" style="width: 60px;" />'
    assert second == first.replace('height="20"', 'height="20" loading="lazy"')
    with Image.open(tmp_path / "_images" / "a.webp") as copy:
        moved = np.abs(np.asarray(copy.convert("RGB"), dtype=int) - pixels).max()
    assert 0 < moved <= 7


def test_style_sheets_keep_what_the_pages_need() -> None:
    style = """/* note */ .used, .unused > a { top: 0 } .unused:hover { top: 1 } a:not(.unused, .used) { top: 2 }
    @media print { .used .deep { top: 3 } .unused { top: 4 } } @font-face { src: url(a.woff2) }
    h1:has(+ .used) { top: 5 }"""
    kept = bookfix.needed(style, {"used", "deep"})
    assert [int(number) for number in re.findall(r"top: (\d)", kept)] == [0, 2, 3, 5]
    assert "unused > a" not in kept and "note" not in kept and "@media print {" in kept and "a.woff2" in kept


def test_the_search_that_is_mended_is_that_of_sphinx(book: Book) -> None:
    book.build()
    script = book.root / "build" / "_static" / "searchtools.js"
    text = script.read_text(encoding="utf-8")
    assert [reason for reason, old, _ in bookfix.SEARCH if text.count(old) != 1] == []
    bookfix.mend_search(script)
    mended = script.read_text(encoding="utf-8")
    assert [reason for reason, _, new in bookfix.SEARCH if mended.count(new) != 1] == []
    bookfix.mend_search(script)  # the book is built again, and Sphinx has left the script alone
    assert script.read_text(encoding="utf-8") == mended


# companions and print_page


def test_chapters_and_labs_find_each_other() -> None:
    pages = [
        "chapters/01-one",
        "chapters/04-four",
        "chapters/claims",
        "index",
        "labs/01_one",
        "labs/04a_x",
        "labs/04b_y",
    ]
    assert companions.companions("chapters/01-one", pages) == ["labs/01_one"]
    assert companions.companions("chapters/04-four", pages) == ["labs/04a_x", "labs/04b_y"]
    assert companions.companions("labs/04b_y", pages) == ["chapters/04-four"]
    assert companions.companions("index", pages) == companions.companions("chapters/claims", pages) == []


@pytest.mark.parametrize(
    ("repository", "base", "picture", "lab"),
    [
        (
            "https://github.com/a/b",
            "",
            "https://raw.githubusercontent.com/a/b/main/assets/figures/preview.png",
            "github/a/b/blob/main/labs/{{path}}.ipynb",
        ),
        (
            "https://github.com/a/b.git/",
            "https://b.org/c/",
            "https://b.org/c/preview.png",
            "github/a/b/blob/main/labs/{{path}}.ipynb",
        ),
        ("https://example.org/a/b", "", "", "#create=true"),
        ("", "", "", "#create=true"),
    ],
)
def test_addresses_for_others_are_whole_or_missing(
    repository: str, base: str, picture: str, lab: str
) -> None:
    config = SimpleNamespace(html_baseurl=base, html_theme_options={"repository_url": repository})
    app = SimpleNamespace(config=config)
    assert companions.address(app) == picture
    companions.colab_address(app, config)
    assert config.myst_url_schemes["colab"] == f"https://colab.research.google.com/{lab}"


def test_links_between_printed_pages_stay_inside() -> None:
    page = """<nav></nav><article class="a"><h1 id="one">One<a class="headerlink" href="#one">#</a></h1>
    <a href="#one">self</a><a href="02-two.html#b">other</a><a href="02-two.html">its top</a>
    <a href="../labs/01_x.html#c">lab</a><a href="https://example.org/#d">out</a>
    <a title="a hint" href="https://example.org">hint</a>
    <img src="../_images/p.webp" loading="lazy"><details class="q"></details></article>"""
    found = print_page.inside(page, "chapters/01-one", ["chapters/01-one", "chapters/02-two"])
    assert found.startswith('<article id="01-one" class="a"><h1 id="01-one--one">One</h1>')
    links = [
        "#01-one--one",
        "#02-two--b",
        "#02-two",
        "labs/01_x.html#c",
        "https://example.org/#d",
        "https://example.org",
    ]
    assert re.findall(r'href="([^"]*)"', found) == links
    assert '<img src="_images/p.webp" loading="lazy"><details open class="q">' in found
    assert "a hint" not in found
