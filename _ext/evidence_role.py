"""Role ``{ev}``: quotes a measured number from ``evidence/`` and links it to the lab section that measured it.

``{ev}`01_pretraining/label-gap` `` becomes "0.28 [0.26, 0.30]"; `utils.evidence.quote` says what may follow the id.
A lab, row or field that does not exist is a warning, so the book does not build with it.
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from sphinx.util.typing import ExtensionMetadata

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the repository root, for `utils`
from utils.errors import CourseError  # noqa: E402
from utils.evidence import load, quote  # noqa: E402

logger = logging.getLogger(__name__)


def evidence_folder(env: BuildEnvironment) -> Path:
    """The folder of the book's evidence, one JSON file per lab."""
    return Path(env.srcdir) / "evidence"


def lab_uri(env: BuildEnvironment, row: dict) -> str | None:
    """Address of the lab section of an evidence row as seen from the current page; None without such a page."""
    page = f"labs/{row['lab']}"
    if page not in env.found_docs:
        return None
    uri = env.app.builder.get_relative_uri(env.docname, page)
    return f"{uri}#{row['cell']}" if row["cell"] else uri


def printed(ref: str, folder: Path) -> str:
    """A quoted number with the minus signs of print. Raises CourseError as `utils.evidence.quote` does."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", quote(ref, folder))


class EvidenceRole(SphinxRole):
    """`{ev}`; see the module."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        folder = evidence_folder(self.env)
        lab, _, row_id = self.text.partition(":")[0].rpartition("/")
        self.env.note_dependency(str(folder / f"{lab}.json"))
        try:
            text = printed(self.text, folder)
            row = load(lab, folder)[row_id]
        except CourseError as error:
            logger.warning("%s", error, location=self.get_location(), type="course", subtype="evidence")
            return [nodes.problematic(self.rawtext, self.rawtext)], []
        uri = lab_uri(self.env, row)
        if uri is None:
            return [nodes.inline(self.rawtext, text, classes=["quoted"])], []
        title = f"{row['metric']}; {row['seeds']} seeds"
        return [nodes.reference(self.rawtext, text, refuri=uri, reftitle=title, classes=["quoted"])], []


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_role("ev", EvidenceRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
