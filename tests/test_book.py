"""The built book: no warning, no dead link, no figure without a description, nothing from the network."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.built_book import ROOT, build, pages
from utils.setup_cell import repository

LARGEST_PAGE = 1_500_000  # bytes
SHORTEST_ALT = 20  # characters; a shorter text names a figure but does not describe it


@dataclass
class Page(HTMLParser):
    """What the tests need to know of one page."""

    path: Path
    ids: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    images: list[dict[str, str | None]] = field(default_factory=list)
    in_article: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.text = self.path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if identifier := attributes.get("id"):
            self.ids[identifier] += 1
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"] or "")
        if tag == "article":
            self.in_article = True
        if tag == "img" and self.in_article:
            self.images.append(attributes)
        if tag == "link" and {"stylesheet", "preload", "icon"} & set((attributes.get("rel") or "").split()):
            self.resources.append(attributes.get("href") or "")
        if tag != "a" and attributes.get("src"):
            self.resources.append(attributes["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self.in_article = False


@pytest.fixture(scope="module")
def parsed(book: Path) -> dict[Path, Page]:
    return {path.resolve(): Page(path) for path in pages(book)}


def test_every_page_of_the_repository_is_in_the_book(book: Path) -> None:
    sources = [*(ROOT / "chapters").glob("*.md"), *(ROOT / "labs").glob("*.ipynb")]
    built = {path.relative_to(book).with_suffix("").as_posix() for path in pages(book)}
    missing = {path.relative_to(ROOT).with_suffix("").as_posix() for path in sources} - built
    assert not missing, f"name these in _toc.yml: {sorted(missing)}"


def test_links_and_resources_resolve(parsed: dict[Path, Page]) -> None:
    broken = []
    for path, page in parsed.items():
        for address in (*page.links, *page.resources):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.name}: {address}")
            elif parts.fragment and target in parsed:
                if unquote(parts.fragment) not in parsed[target].ids:
                    broken.append(f"{path.name}: {address} (no such anchor)")
    assert not broken, "\n".join(broken)


def test_ids_are_unique(parsed: dict[Path, Page]) -> None:
    twice = {
        path.name: [key for key, count in page.ids.items() if count > 1] for path, page in parsed.items()
    }
    assert not {name: ids for name, ids in twice.items() if ids}


def test_figures_have_alternative_text(parsed: dict[Path, Page]) -> None:
    bare = []
    for path, page in parsed.items():
        for image in page.images:
            alt = image.get("alt") or ""
            decorative = image.get("role") == "presentation"
            if not decorative and (len(alt) < SHORTEST_ALT or re.search(r"\.(png|svg|jpe?g)$", alt)):
                bare.append(f"{path.name}: {image.get('src')} has the alternative text {alt!r}")
    assert not bare, "\n".join(bare)


def test_pages_are_small(parsed: dict[Path, Page]) -> None:
    """A page with all its figures."""
    sizes = {}
    for path, page in parsed.items():
        figures = {str(image.get("src")) for image in page.images}
        files = [path, *((path.parent / figure).resolve() for figure in figures)]
        sizes[path.name] = sum(file.stat().st_size for file in files)
    assert not {name: size for name, size in sizes.items() if size > LARGEST_PAGE}


def test_what_pages_share_is_small(book: Path) -> None:
    """Of the theme's style sheets only what the pages need is left."""
    styles = sum(path.stat().st_size for path in (book / "_static").rglob("*.css"))
    assert styles < 200_000


def test_nothing_is_loaded_from_the_network(book: Path, parsed: dict[Path, Page]) -> None:
    remote = [
        f"{path.name}: {address}"
        for path, page in parsed.items()
        for address in page.resources
        if urlsplit(address).netloc
    ]
    styles = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^"')]+""")
    for path in (*parsed, *book.rglob("*.css")):
        remote += [f"{path.name}: {found}" for found in styles.findall(path.read_text(encoding="utf-8"))]
    assert not remote, "\n".join(remote)


def test_katex_comes_with_its_licence_where_it_is_needed(book: Path, parsed: dict[Path, Page]) -> None:
    assert "MIT License" in (book / "vendor" / "katex" / "LICENSE").read_text(encoding="utf-8")
    for path, page in parsed.items():
        scripts = [
            source for source in page.resources if source.partition("?")[0].endswith((".js", "katex.min.css"))
        ]
        assert ('class="math' in page.text) == any("katex" in source for source in scripts), path.name
        assert not any("fontawesome" in source or "mathjax" in source for source in scripts), path.name


def test_every_page_describes_itself(book: Path, parsed: dict[Path, Page]) -> None:
    described = re.compile(r'<meta name="description" content="([^"]{40,200})"')
    generated = {"genindex.html", "search.html", "print.html"}
    found = {
        path.name: described.findall(page.text) for path, page in parsed.items() if path.name not in generated
    }
    assert {name for name, texts in found.items() if len(texts) != 1} == set()
    assert len({texts[0] for texts in found.values()}) == len(found)
    for path, page in parsed.items():
        if path.name not in generated:
            assert re.search(r'<meta property="og:image" content="https://[^"]+/preview\.png"', page.text), (
                path.name
            )
            assert '<link rel="icon" href="' in page.text or 'rel="shortcut icon"' in page.text, path.name
    assert (book / "preview.png").is_file()


def test_chapters_and_labs_link_each_other(book: Path, parsed: dict[Path, Page]) -> None:
    for lab in (book / "labs").glob("*.html"):
        (chapter,) = (book / "chapters").glob(f"{lab.name[:2]}-*.html")
        line = f'<p class="companions">Chapter: <a href="../chapters/{chapter.name}">'
        assert line in parsed[lab.resolve()].text
        assert (
            f"../labs/{lab.name}"
            in re.search(r'<p class="companions">.*?</p>', parsed[chapter.resolve()].text)[0]
        )


def test_every_page_leads_to_the_next_one(book: Path, parsed: dict[Path, Page]) -> None:
    """Along "next" one comes through the whole book, and along "previous" back."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]
    order = [(book / f"{name}.html").resolve() for name in names]
    for place, path in enumerate(order):
        found = dict(re.findall(r'<a class="(left-prev|right-next)"\s+href="([^"]*)"', parsed[path].text))
        around = {
            "left-prev": order[place - 1] if place else None,
            "right-next": dict(enumerate(order)).get(place + 1),
        }
        for direction, other in around.items():
            leads = (path.parent / found[direction]).resolve() if direction in found else None
            assert leads == other, (path.name, direction)


def test_print_version_holds_every_chapter(book: Path, parsed: dict[Path, Page]) -> None:
    printed = parsed[(book / "print.html").resolve()]
    assert not re.search(r"<details(?! open)", printed.text), "an answer is folded"
    for chapter in (book / "chapters").glob("0*.html"):
        assert chapter.stem in printed.ids
    assert "print.html" in parsed[(book / "index.html").resolve()].links


def test_labs_open_in_colab_from_the_configured_repository(book: Path, parsed: dict[Path, Page]) -> None:
    url, branch = repository(ROOT)
    slug = url.removeprefix("https://github.com/")
    for lab in (ROOT / "labs").glob("*.ipynb"):
        page = parsed[(book / "labs" / f"{lab.stem}.html").resolve()]
        address = f"https://colab.research.google.com/github/{slug}/blob/{branch}/labs/{lab.name}"
        assert address in page.links, lab.name


def test_ledger_page_shows_every_row_once(book: Path) -> None:
    page = (book / "chapters" / "claims.html").read_text(encoding="utf-8")
    rows = yaml.safe_load((ROOT / "claims.yml").read_text(encoding="utf-8"))
    shown = re.findall(r'<li class="claim [^"]*" id="claim-([a-z0-9-]+)">', page)
    assert shown == [row["id"].lower() for row in rows]


def test_missing_evidence_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "_config.yml").write_text(
        f"only_build_toc_files: true\nsphinx:\n  local_extensions: {{evidence_role: {ROOT / '_ext'}}}\n"
    )
    (tmp_path / "index.md").write_text("# Page\n\nIt is {ev}`01_pretraining/no-such-row`.\n")
    done = build(tmp_path, tmp_path)
    assert done.returncode != 0
    assert re.search(r"index\.md:3: WARNING: .*01_pretraining", done.stderr), done.stderr[-2000:]
