"""What stands around a page: its description and picture for shared links, and the ways to its lab, chapter and Colab.

Chapters and labs with the same number belong together. A page without a sentence in `descriptions.yml` fails the build.
The address `colab:01_pretraining` in a page leads to that lab in Colab.
"""

import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

DESCRIPTIONS = Path(__file__).with_name("descriptions.yml")
PICTURE = "assets/figures/preview.png"
PICTURE_TEXT = (
    "Two lines of accuracy on words that no label showed, over 32 to 1,024 labels: a pretrained network far above, "
    "one trained from scratch at guessing."
)


def number(page: str) -> str:
    """The number by which chapters and labs find each other: "04" for labs/04a_imdb_ulmfit_fastai."""
    found = re.match(r"(?:chapters|labs)/(\d\d)", page)
    return found[1] if found else ""


def companions(page: str, pages: list[str]) -> list[str]:
    """The labs of a chapter, or the chapter of a lab."""
    folder = page.partition("/")[0]
    return [
        other
        for other in pages
        if number(page) and number(other) == number(page) and not other.startswith(folder)
    ]


def way(app: Sphinx, page: str) -> str:
    """A line with links from a chapter to its labs, or from a lab to its chapter; empty where there are none."""
    others = companions(page, sorted(app.env.found_docs))
    links = [
        f'<a href="{app.builder.get_relative_uri(page, other)}">{escape(app.env.titles[other].astext())}</a>'
        for other in others
    ]
    name = "Chapter: " if page.startswith("labs") else ""  # the title of a lab begins with its name
    return f'<p class="companions">{name}{" · ".join(links)}</p>' if links else ""


def repository(app: Sphinx) -> str:
    """Owner, name and branch of the repository on GitHub, as in "owner/name/main"; empty when it is not there."""
    theme = app.config.html_theme_options
    slug = theme.get("repository_url", "").rstrip("/").removesuffix(".git").partition("github.com/")[2]
    return slug and f"{slug}/{theme.get('repository_branch') or 'main'}"


def address(app: Sphinx) -> str:
    """Where the picture can be fetched: beside the pages when their address is known, else in the repository.

    Empty when neither is known: an address for others has to be a whole one.
    """
    if app.config.html_baseurl:
        return f"{app.config.html_baseurl.rstrip('/')}/preview.png"
    return repository(app) and f"https://raw.githubusercontent.com/{repository(app)}/{PICTURE}"


def colab_address(app: Sphinx, config: Config) -> None:
    """Let pages write `colab:01_pretraining`; for a repository that is not on GitHub it leads to Colab's own page."""
    owner, _, branch = repository(app).rpartition("/")
    page = f"github/{owner}/blob/{branch}/labs/{{{{path}}}}.ipynb" if owner else "#create=true"
    config.myst_url_schemes = {
        **dict.fromkeys(("http", "https", "mailto", "ftp")),
        "colab": f"https://colab.research.google.com/{page}",
    }


def surround(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Set the description and the preview of a page, and link chapter and lab below its title."""
    if doctree is None:
        return
    text = yaml.safe_load(DESCRIPTIONS.read_text(encoding="utf-8")).get(pagename)
    if not text:
        message = "%s has no sentence in _ext/descriptions.yml"
        logger.warning(message, pagename, location=pagename, type="course", subtype="description")
        return
    tags = {
        'name="description"': text,
        'property="og:type"': "article",
        'property="og:site_name"': app.config.html_title,
        'property="og:title"': app.env.titles[pagename].astext(),
        'property="og:description"': text,
        'name="twitter:card"': "summary",
    }
    if picture := address(app):
        tags |= {
            'property="og:image"': picture,
            'property="og:image:alt"': PICTURE_TEXT,
            'name="twitter:card"': "summary_large_image",
        }
    context["metatags"] = context.get("metatags", "") + "".join(
        f'\n<meta {name} content="{escape(content)}" />' for name, content in tags.items()
    )
    context["body"] = context["body"].replace("</h1>", f"</h1>{way(app, pagename)}", 1)


def copy_picture(app: Sphinx, exception: Exception | None) -> None:
    picture = Path(app.srcdir) / PICTURE
    if not exception and app.builder.format == "html" and picture.is_file():
        shutil.copy(picture, Path(app.outdir) / "preview.png")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("config-inited", colab_address)
    app.connect("html-page-context", surround)
    app.connect("build-finished", copy_picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
