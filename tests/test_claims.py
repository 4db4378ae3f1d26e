"""The claims ledger is complete, well formed and points only to works and rows that exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]

# part of the id -> (section, number of rows), in the order of the ledger
PARTS = {
    "OV": ("Outline", 3),
    "IN": ("Introduction", 22),
    "PT": ("Pretraining", 29),
    "AN": ("Analysis", 67),
    "AD": ("Adaptation", 69),
    "DS": ("Applications", 19),
    "OP": ("Open problems", 48),
    "CO": ("Conclusions", 4),
    "S19": ("Since 2019", 40),
    "HR": ("Headline results", 47),
}
FIELDS = ["id", "section", "claim", "works", "figures", "status", "see"]
TAGS = {"P", "A", "R", "C", "N", "NP"}
STATUSES = {"cited", "open", "prose", "cross-reference"}

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return yaml.safe_load((ROOT / "claims.yml").read_text(encoding="utf-8"))


def part(row: Row) -> str:
    return row["id"].rsplit("-", 1)[0]


def strings(row: Row) -> list[str]:
    """Everything of a row that readers see as text."""
    return [row["claim"], *(figure["text"] for figure in row["figures"])]


def test_every_row_has_the_same_fields_of_the_right_type(rows: list[Row]) -> None:
    for row in rows:
        assert list(row) == FIELDS, row["id"]
        assert all(isinstance(row[name], str) for name in ("id", "section", "claim", "status")), row["id"]
        assert all(isinstance(row[name], list) for name in ("works", "figures", "see")), row["id"]
        for figure in row["figures"]:
            assert list(figure) == ["text", "tag"], row["id"]
            assert isinstance(figure["text"], str) and figure["text"].strip(), row["id"]


def test_count_of_each_part(rows: list[Row]) -> None:
    assert Counter(map(part, rows)) == {name: count for name, (_, count) in PARTS.items()}


def test_ids_are_unique_and_in_order(rows: list[Row]) -> None:
    expected = [
        f"{name}-{number:02d}" for name, (_, count) in PARTS.items() for number in range(1, count + 1)
    ]
    assert [row["id"] for row in rows] == expected


def test_section_belongs_to_the_part(rows: list[Row]) -> None:
    assert [row["id"] for row in rows if row["section"] != PARTS[part(row)][0]] == []


def test_works_are_in_the_bibliography_and_named_once(rows: list[Row]) -> None:
    bibliography = (ROOT / "references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{([^,\s]+),", bibliography, flags=re.MULTILINE))
    unknown = {row["id"]: sorted(set(row["works"]) - keys) for row in rows if set(row["works"]) - keys}
    assert unknown == {}
    assert [row["id"] for row in rows if not row["works"] or len(set(row["works"])) < len(row["works"])] == []


def test_figures_carry_a_tag_that_may_be_printed(rows: list[Row]) -> None:
    assert [row["id"] for row in rows if not {figure["tag"] for figure in row["figures"]} <= TAGS] == []


def test_status_fits_the_row(rows: list[Row]) -> None:
    for row in rows:
        assert row["status"] in STATUSES, row["id"]
        if row["status"] == "cited":
            assert row["figures"] or row["works"], row["id"]
        else:
            assert not row["figures"], f"{row['id']} has a figure, so it is cited"
        if row["status"] == "cross-reference":
            assert row["see"], row["id"]


def test_see_names_other_rows_once(rows: list[Row]) -> None:
    ids = {row["id"] for row in rows}
    for row in rows:
        assert set(row["see"]) <= ids - {row["id"]}, row["id"]
        assert len(set(row["see"])) == len(row["see"]), row["id"]


def test_claims_are_sentences_of_readable_length(rows: list[Row]) -> None:
    for row in rows:
        claim = row["claim"]
        assert 30 <= len(claim) <= 400, (row["id"], len(claim))
        assert claim.endswith("."), row["id"]
        assert claim[0].isupper() or claim.startswith("t-SNE"), row["id"]
    assert [claim for claim, count in Counter(row["claim"] for row in rows).items() if count > 1] == []


def test_text_is_plain_and_names_nothing_unread(rows: list[Row]) -> None:
    for row in rows:
        for text in strings(row):
            assert text.isascii() and text == " ".join(text.split()), row["id"]
            assert not re.search(r"M\]|not verified|from memory", text, flags=re.IGNORECASE), row["id"]
