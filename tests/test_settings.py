"""Profile, recording mode, data folder, seeds, device and progress bars."""

import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from utils import settings
from utils.errors import CourseError


def test_root_is_the_course():
    assert (settings.root() / "utils" / "settings.py").is_file()


@pytest.mark.parametrize(
    ("value", "name"), [(None, "mini"), ("", "mini"), ("mini", "mini"), ("full", "full")]
)
def test_profile(monkeypatch, value, name):
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    if value is not None:
        monkeypatch.setenv("COURSE_PROFILE", value)
    assert settings.profile() == name


def test_unknown_profile_names_the_two(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "Full ")
    with pytest.raises(CourseError, match="'Full ' is not a profile.*'mini'.*'full'"):
        settings.profile()


def test_recording(monkeypatch):
    monkeypatch.delenv("COURSE_RECORD", raising=False)
    assert not settings.recording()
    monkeypatch.setenv("COURSE_RECORD", "1")
    assert settings.recording()
    monkeypatch.setenv("COURSE_RECORD", "yes")
    with pytest.raises(CourseError, match="COURSE_RECORD='yes'"):
        settings.recording()


def test_data_dir(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    assert settings.data_dir() is None
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert settings.data_dir() == tmp_path
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "absent"))
    with pytest.raises(CourseError, match="absent' is not a folder"):
        settings.data_dir()


def test_seed_everything_repeats_all_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    settings.seed_everything(3)
    first = draw()
    settings.seed_everything(3)
    assert draw() == first
    settings.seed_everything(4)
    assert draw() != first


def test_full_without_gpu_warns_once(monkeypatch):
    monkeypatch.setattr(settings, "_warned", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("COURSE_PROFILE", "full")
    with pytest.warns(UserWarning, match="expect 9 hours"):
        assert settings.device("9 hours") == torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings.device("9 hours")


def test_gpu_comes_first(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert settings.device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert settings.device().type == "cuda"


def test_threads():
    before = torch.get_num_threads()
    settings.threads(1)
    assert torch.get_num_threads() == 1
    settings.threads(before)


@pytest.mark.parametrize(("disable", "shown"), [("1", False), ("0", True), ("", True)])
def test_progress_respects_tqdm_disable(monkeypatch, capsys, disable, shown):
    monkeypatch.setenv("TQDM_DISABLE", disable)
    assert list(settings.progress(range(3), desc="work")) == [0, 1, 2]
    captured = capsys.readouterr()
    assert ("work" in captured.out) == shown
    assert captured.err == ""


def test_quiet_drops_what_compiled_code_writes_to_standard_error(capfd):
    with settings.quiet():
        os.write(2, b"from compiled code")
    assert capfd.readouterr().err == ""
    with pytest.raises(ValueError, match="as ever"), settings.quiet():
        raise ValueError("as ever")
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"


def test_import_is_light():
    code = (
        "import sys, utils.settings; print(sorted({'torch', 'numpy', 'tqdm', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=settings.root(), capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
