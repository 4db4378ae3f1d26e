"""The glossary is in order, every term has a sentence, and the chapters link a term once, where it is first used."""

import re
import sys
from collections import Counter
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "_ext"))
from glossary_language import mark_chinese  # noqa: E402

GLOSSARY = ROOT / "chapters" / "glossary.md"
NUMBERED = sorted((ROOT / "chapters").glob("[0-9]*.md"))
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def entries() -> list[list[str]]:
    """The lines of each entry: the English term, mostly the Chinese one, and the indented definition."""
    block = GLOSSARY.read_text("utf-8").split("```{glossary}\n")[1].split("\n```")[0]
    return [entry.strip().splitlines() for entry in block.split("\n\n") if entry.strip()]


def test_terms_are_in_order_and_unique() -> None:
    terms = [entry[0] for entry in entries()]
    plain = [re.sub(r"[^a-z0-9 ]", " ", term.lower()) for term in terms]
    assert plain == sorted(plain)
    both = Counter(line for entry in entries() for line in entry[:-1])
    assert [term for term, count in both.items() if count > 1] == []


def test_entries_have_a_definition() -> None:
    for entry in entries():
        assert 2 <= len(entry) <= 3, entry
        assert entry[-1].startswith("  ") and entry[-1].endswith("."), entry
        if len(entry) == 3:
            assert CHINESE.search(entry[1]), entry


def test_chapters_link_a_term_once() -> None:
    linked = Counter()
    for chapter in NUMBERED:
        for role in re.findall(r"\{term\}`([^`]+)`", chapter.read_text("utf-8")):
            explicit = re.search(r"<([^>]+)>$", role)
            linked[(explicit[1] if explicit else role).lower()] += 1
    assert [term for term, count in linked.items() if count > 1] == []
    assert set(linked) <= {entry[0].lower() for entry in entries()}


def test_chinese_terms_say_that_they_are() -> None:
    terms = [nodes.term("", text) for text in ("probe", "探针")]
    mark_chinese(None, nodes.paragraph("", "", *terms))
    assert [term["classes"] for term in terms] == [[], ["language-zh-Hans"]]
