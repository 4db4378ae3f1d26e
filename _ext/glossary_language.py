"""Says which terms of the glossary are Chinese, so that browsers choose a font for them and screen readers a voice."""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def mark_chinese(app: Sphinx, doctree: nodes.document) -> None:
    """Give each Chinese term the class from which docutils makes the attribute lang."""
    for term in doctree.findall(nodes.term):
        if CHINESE.search(term.astext()):
            term["classes"].append("language-zh-Hans")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("doctree-read", mark_chinese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
