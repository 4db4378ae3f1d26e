"""The one kind of error that a reader of the course is meant to see."""

from collections.abc import Callable
from pathlib import Path
from reprlib import Repr
from typing import Any

_short = Repr()
_short.maxstring = _short.maxlong = _short.maxother = 60


class CourseError(Exception):
    """A mistake that the reader can repair, said in one sentence.

    The message names the file, the place in it, what was expected and what to do. Inside Jupyter only the
    message is shown, without the traceback; outside it behaves like any other exception.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints in place of the traceback (used by notebooks and nbclient)."""
        return f"CourseError: {self}".splitlines()


def shown(value: Any) -> str:
    """A value of any size and depth as at most a line of text, for a message."""
    return _short.repr(value)[:60]


def refused(mistake: Callable[[], object], folder: Path) -> None:
    """Make a mistake and print the one sentence of its CourseError, without the name of `folder`.

    Raises AssertionError where nothing was refused.
    """
    try:
        mistake()
    except CourseError as error:
        print(str(error).replace(f"{folder}/", ""))
    else:
        raise AssertionError("nobody noticed")
