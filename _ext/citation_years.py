"""Letters after the year of works that would print alike: Tenney et al. [2019a] and Tenney et al. [2019b].

The letters follow the order of the bibliography and count every work of its files, cited or not, so they do not change
from page to page.
"""

import re
from collections import defaultdict
from string import ascii_lowercase

from pybtex.database import Entry
from pybtex.style.sorting.author_year_title import SortingStyle
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def printed(entry: Entry) -> str:
    """What a citation prints of an entry: its authors in short and its year, without a letter set before."""
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons.get("author", [])]
    authors = f"{names[0]} et al." if len(names) > 2 else " and ".join(names) or entry.fields.get("title", "")
    return f"{authors} {plain_year(entry)}"


def plain_year(entry: Entry) -> str:
    return re.sub(r"(?<=\d)[a-z]$", "", entry.fields.get("year", ""))


def tell_apart(entries: list[Entry]) -> None:
    """Set a letter after the year of each entry that prints like another one, and only there."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if year := plain_year(entry):
            entry.fields["year"] = year
            groups[printed(entry)].append(entry)
    for group in groups.values():
        if len(group) > 1:
            for letter, entry in zip(ascii_lowercase, SortingStyle().sort(group), strict=False):
                entry.fields["year"] += letter


def builder_inited(app: Sphinx) -> None:
    tell_apart(list(app.env.get_domain("cite").bibdata.data.entries.values()))


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("builder-inited", builder_inited, priority=900)  # after bibtex has read its files
    return {"parallel_read_safe": True, "parallel_write_safe": True}
