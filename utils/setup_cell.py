"""The setup cell of every lab: one text, which `make labs` puts in place of a cell that holds only `# course setup`.

It finds the course around the notebook. Where there is none (Colab, Kaggle, a notebook downloaded alone) it clones the
repository into the folder `course` and installs what requirements-colab.txt names. It is safe to run twice, prints
nothing, and must stay readable by a Python that is too old, to say so.
"""

from pathlib import Path

import yaml

from utils.errors import CourseError

MARK = "# course setup"
BADGE_MARK = "<!-- colab badge -->"

TEMPLATE = """\
# Course setup: for a clone, Colab and Kaggle. Safe to run twice.
import os
import subprocess
import sys
from pathlib import Path


class CourseSetupError(Exception):
    def _render_traceback_(self):  # Jupyter shows the sentence only
        return ["Course setup: %s" % self]


def course_command(*command):
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = " ".join((getattr(error, "stderr", None) or str(error)).split())[-300:]
        raise CourseSetupError("%s failed (%s): repair that and run this cell again." % (command[0], reason)) from error


if sys.version_info < (3, 10):
    version = "%d.%d" % sys.version_info[:2]
    raise CourseSetupError("Python 3.10 or newer is needed, this is %s: choose another kernel." % version)
here = Path.cwd().resolve()
course_copy = here / "course"
places = [p for p in (here, *here.parents, course_copy) if (p / "utils" / "setup_cell.py").is_file()]
if not places:
    repository = os.environ.get("COURSE_REPO", "{repository}")
    branch = os.environ.get("COURSE_REF", "{branch}")
    course_command("git", "clone", "--quiet", "--depth", "1", "--branch", branch, repository, str(course_copy))
course_root = places[0] if places else course_copy
if course_root == course_copy:
    course_needs = str(course_root / "requirements-colab.txt")
    course_command(sys.executable, "-m", "pip", "install", "--quiet", "-r", course_needs)
if str(course_root) not in sys.path:
    sys.path.insert(0, str(course_root))
"""


def repository(root: Path) -> tuple[str, str]:
    """Address and branch of the repository, from `_config.yml` in `root`: the only place where they stand.

    Raises:
        CourseError: `_config.yml` has no `repository.url`.
    """
    given = yaml.safe_load((root / "_config.yml").read_text("utf-8")).get("repository") or {}
    if not given.get("url"):
        raise CourseError("_config.yml, key repository.url: expected the address of the repository; set it.")
    return given["url"].rstrip("/"), given.get("branch", "main")


def setup_cell(root: Path) -> str:
    """The source of the setup cell, with the repository's address filled in."""
    url, branch = repository(root)
    return TEMPLATE.replace("{repository}", url).replace("{branch}", branch).rstrip("\n")


def colab_badge(root: Path, notebook: str, kind: str) -> str:
    """Markdown link that opens a notebook, such as `labs/01_pretraining.ipynb`, in Colab.

    Text, not an image: a page makes no external request. Colab opens notebooks from GitHub only; for a repository
    elsewhere the link leads to Colab's own upload page.
    """
    url, branch = repository(root)
    slug = url.removesuffix(".git").partition("github.com/")[2]
    page = f"github/{slug}/blob/{branch}/{notebook}" if slug else "#create=true"
    return f"[**Open this {kind} in Colab**](https://colab.research.google.com/{page})"
