"""The ledger page: every claim of ``claims.yml`` with what ``evidence/`` says about it.

Directive ``{claims-ledger}`` prints the whole ledger; role ``{claim}`` links to one row (``{claim}`PT-16` ``).
The page can be read without JavaScript; ``claims_filter.js`` beside this file adds the filter and travels inside the
page, because Jupyter Book links every script of ``_static`` from every page.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from evidence_role import evidence_folder, lab_uri, printed
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata

from utils.errors import CourseError
from utils.evidence import load

logger = logging.getLogger(__name__)

PAGE = "chapters/claims"

STATUSES = {  # status -> name on the page; "measured" is decided by evidence/, the others stand in claims.yml
    "measured": "measured",
    "cited": "cited",
    "open": "open",
    "prose": "explained",
    "cross-reference": "see other rows",
}
VERDICTS = ("supported", "contradicted", "inconclusive")
TAGS = {  # how a published figure was checked
    "P": "read in the paper",
    "A": "read in the abstract",
    "R": "read in the authors' repository",
    "C": "recomputed from released outputs",
    "N": "second-hand, from a note",
    "NP": "second-hand, from a table",
}


@dataclass(frozen=True)
class Claim:
    """One row of the ledger; `figures` are pairs (text, tag), `see` ids of related rows."""

    id: str
    section: str
    claim: str
    works: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    status: str
    see: tuple[str, ...]

    @property
    def anchor(self) -> str:
        return f"claim-{self.id.lower()}"

    @property
    def part(self) -> str:
        """Name of the row's section in addresses and filters: "pt" for PT-16."""
        return self.id.rpartition("-")[0].lower()


def _claim(row: Any, place: str) -> Claim:
    try:
        claim = Claim(
            id=row["id"],
            section=row["section"],
            claim=row["claim"],
            works=tuple(row.get("works") or ()),
            figures=tuple((figure["text"], figure["tag"]) for figure in row.get("figures") or ()),
            status=row["status"],
            see=tuple(row.get("see") or ()),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise CourseError(
            f"{place}: expected the keys id, section, claim and status and, in figures, text and tag."
        ) from error
    if claim.status not in STATUSES or claim.status == "measured":
        allowed = ", ".join(list(STATUSES)[1:])
        raise CourseError(f"{place}: {claim.id} has status {claim.status!r}; use one of {allowed}.")
    for _, tag in claim.figures:
        if tag not in TAGS:
            raise CourseError(
                f"{place}: {claim.id} has a figure tagged {tag!r}; use one of {', '.join(TAGS)}."
            )
    return claim


def load_claims(path: Path) -> dict[str, Claim]:
    """The rows of `path` by id, in file order. Raises CourseError naming the row that is wrong."""
    if not path.is_file():
        raise CourseError(f"{path.name} is missing; the ledger page is made from it.")
    return _load_claims(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load_claims(path: Path, _changed: int) -> dict[str, Claim]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        rows = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CourseError(f"{path.name} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(rows, list) or not rows:
        raise CourseError(f"{path.name} should hold a list of claims and holds none.")
    claims: dict[str, Claim] = {}
    for number, row in enumerate(rows, 1):
        claim = _claim(row, f"{path.name}, row {number}")
        if claim.id in claims:
            raise CourseError(f"{path.name}, row {number}: {claim.id} stands there twice.")
        claims[claim.id] = claim
    for claim in claims.values():
        for other in claim.see:
            if other not in claims:
                raise CourseError(f"{path.name}: {claim.id} refers to {other}, which is not in the ledger.")
    return claims


def evidence_files(env: BuildEnvironment) -> list[Path]:
    """The evidence files of the book, one per lab."""
    return sorted(evidence_folder(env).glob("*.json"))


class ClaimsLedger(SphinxDirective):
    """`{claims-ledger}`; see the module."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "claims.yml"
        folder = evidence_folder(self.env)
        files = evidence_files(self.env)
        for dependency in (path, *files, Path(__file__).with_name("claims_filter.js")):
            self.env.note_dependency(str(dependency))
        self.env.ledger_evidence = [file.name for file in files]
        try:
            self.claims = load_claims(path)
            self.measured: dict[str, list[dict[str, Any]]] = {}
            for file in files:
                for row in load(file.stem, folder).values():
                    if row["claim"] not in self.claims:
                        raise CourseError(
                            f"evidence/{file.name}: {row['claim']} is not an id of {path.name}."
                        )
                    quoted = printed(f"{file.stem}/{row['id']}", folder)
                    self.measured.setdefault(row["claim"], []).append({**row, "quoted": quoted})
        except CourseError as error:
            logger.warning("%s", error, location=self.get_location(), type="course", subtype="ledger")
            return []
        return [self.counts(), self.filter_form(), *self.sections(), self.script()]

    def status(self, claim: Claim) -> str:
        return "measured" if claim.id in self.measured else claim.status

    def counts(self) -> nodes.Node:
        """How many rows have which status, by section, and how many measurements which verdict."""
        verdicts = Counter(row["verdict"] for rows in self.measured.values() for row in rows)
        measurements = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS)

        def line(name: str, claims: list[Claim]) -> str:
            count = Counter(map(self.status, claims))
            numbers = "".join(f"<td>{count[status] or '–'}</td>" for status in STATUSES)
            return f'<tr><th scope="row">{name}</th>{numbers}<td>{len(claims)}</td></tr>'

        head = "".join(f'<th scope="col">{name}</th>' for name in (*STATUSES.values(), "all"))
        body = "".join(line(escape(name), claims) for name, claims in self.by_section().items())
        return raw(
            f"<p>{len(self.claims)} rows, {len(self.measured)} of them measured. "
            f"Measurements: {verdicts.total()} ({measurements}).</p>"
            f'<table class="table claims-counts"><thead><tr><td></td>{head}</tr></thead>'
            f"<tbody>{body}{line('All', list(self.claims.values()))}</tbody></table>"
        )

    def by_section(self) -> dict[str, list[Claim]]:
        sections: dict[str, list[Claim]] = {}
        for claim in self.claims.values():
            sections.setdefault(claim.section, []).append(claim)
        return sections

    def filter_form(self) -> nodes.Node:
        """The filter; hidden until the script shows it."""
        sections = [(claims[0].part, escape(name)) for name, claims in self.by_section().items()]
        statuses = [*STATUSES.items(), *((verdict, f"measured: {verdict}") for verdict in VERDICTS)]

        def options(pairs: list[tuple[str, str]]) -> str:
            return "".join(f'<option value="{key}">{name}</option>' for key, name in [("", "all"), *pairs])

        return raw(
            '<form class="claims-filter" role="search" aria-label="Filter the ledger" hidden>'
            f'<label>Section <select name="section">{options(sections)}</select></label>'
            f'<label>Status <select name="status">{options(statuses)}</select></label>'
            '<label>Words <input name="words" type="search" autocomplete="off"></label>'
            '<p role="status"></p></form>'
        )

    def sections(self) -> list[nodes.Node]:
        result: list[nodes.Node] = []
        for name, claims in self.by_section().items():
            section = nodes.section(ids=[f"claims-{claims[0].part}"], names=[], classes=["claims-section"])
            section += nodes.title("", f"{name} ({len(claims)})")
            rows = nodes.bullet_list(classes=["claims"])
            rows += [self.card(claim) for claim in claims]
            section += rows
            result.append(section)
        return result

    def card(self, claim: Claim) -> nodes.list_item:
        """One row of the ledger."""
        status = self.status(claim)
        measured = self.measured.get(claim.id, [])
        kinds = [claim.part, status, *(row["verdict"] for row in measured)]
        card = nodes.list_item(ids=[claim.anchor], classes=["claim", *dict.fromkeys(kinds)])
        head = nodes.paragraph(classes=["claim-head"])
        head += nodes.reference("", claim.id, refuri=f"#{claim.anchor}", classes=["claim-id"])
        head += nodes.inline("", STATUSES[status], classes=["claim-status"])
        card += [head, nodes.paragraph("", claim.claim, classes=["claim-text"])]
        card += [self.measurement(row) for row in measured]
        for text, tag in claim.figures:
            figure = nodes.paragraph("", f"Published: {text.rstrip('.')} ", classes=["claim-figure"])
            figure += nodes.inline("", f"({TAGS[tag]})", classes=["claim-note"])
            card += figure
        last = nodes.paragraph(classes=["claim-works"])
        if claim.works:
            last += [*self.cite(claim.works), nodes.Text(". ")]
        if claim.see:
            last += nodes.Text("See ")
            for number, other in enumerate(claim.see):
                last += nodes.Text(", " if number else "")
                last += nodes.reference("", other, refuri=f"#{self.claims[other].anchor}")
            last += nodes.Text(".")
        if last.children:
            card += last
        return card

    def measurement(self, row: dict[str, Any]) -> nodes.Node:
        """What one lab measured about a claim."""
        node = nodes.paragraph(classes=["claim-measured", row["verdict"]])
        node += nodes.inline("", row["verdict"], classes=["claim-verdict"])
        node += nodes.strong("", f" {row['quoted']} {row['unit']}".rstrip() + ".")
        node += nodes.Text(f" {row['statement']} ")
        how = f"{row['metric']}; {row['method']}, {row['seeds']} seeds; "
        note = nodes.inline("", how, classes=["claim-note"])
        uri = lab_uri(self.env, row)
        name = f"lab {row['lab']}"
        note += nodes.reference("", name, refuri=uri) if uri else nodes.Text(name)
        node += note
        return node

    def cite(self, keys: tuple[str, ...]) -> list[nodes.Node]:
        role = self.env.get_domain("cite").role("t")
        text = ",".join(keys)
        found, messages = role("cite:t", f"{{cite:t}}`{text}`", text, self.lineno, self.state.inliner, {}, [])
        return [*found, *messages]

    def script(self) -> nodes.Node:
        return raw(
            f"<script>{Path(__file__).with_name('claims_filter.js').read_text(encoding='utf-8')}</script>"
        )


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")


class ClaimRole(SphinxRole):
    """`{claim}`; see the module."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        path = Path(self.env.srcdir) / "claims.yml"
        self.env.note_dependency(str(path))
        try:
            claims = load_claims(path)
            if self.text not in claims:
                raise CourseError(f"{self.text} is not an id of {path.name}.")
        except CourseError as error:
            logger.warning("%s", error, location=self.get_location(), type="course", subtype="ledger")
            return [nodes.problematic(self.rawtext, self.rawtext)], []
        claim = claims[self.text]
        uri = self.env.app.builder.get_relative_uri(self.env.docname, PAGE) + f"#{claim.anchor}"
        return [
            nodes.reference(self.rawtext, claim.id, refuri=uri, reftitle=claim.claim, classes=["claim-link"])
        ], []


def reread_when_evidence_comes_or_goes(app: Sphinx, env: BuildEnvironment, *_: set[str]) -> list[str]:
    """Changed files are noticed by Sphinx; this notices new and removed ones."""
    known = getattr(env, "ledger_evidence", None)
    return [PAGE] if known is not None and known != [file.name for file in evidence_files(env)] else []


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("claims-ledger", ClaimsLedger)
    app.add_role("claim", ClaimRole())
    app.connect("env-get-outdated", reread_when_evidence_comes_or_goes)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
