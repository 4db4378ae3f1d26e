"""The one-sentence error, alone and inside a notebook kernel."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from utils.errors import CourseError


def test_traceback_is_the_sentence():
    error = CourseError("data.json does not exist: run `make data`.")
    assert error._render_traceback_() == ["CourseError: data.json does not exist: run `make data`."]


def test_notebook_shows_only_the_sentence():
    source = (
        "from utils.errors import CourseError\ndef deep():\n    raise CourseError('x.json is empty.')\ndeep()"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": "."}})
    with pytest.raises(CellExecutionError):
        client.execute()
    (output,) = notebook.cells[0].outputs
    assert output.ename == "CourseError"
    assert output.traceback == ["CourseError: x.json is empty."]
