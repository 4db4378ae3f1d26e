"""Every loader of the full profile against a server that stands in for all others, undisturbed and under faults."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.standin.files import HANDLE, content
from tests.standin.loaders import LOADERS, fingerprint
from tests.standin.server import Standin
from tests.standin.trials import Lab, evil_archives, faults
from utils import downloads
from utils.settings import root

DICE = random.Random("full profile")
FETCHERS = (
    r"\b(?:urlopen|urlretrieve|hf_hub_download|snapshot_download|load_dataset|untar_data|HTTPDownloader)\(|"
    r"\bimport (?:requests|pooch|httpx|urllib)"
)


BY_NAME = {loader.name: loader for loader in LOADERS}


@pytest.fixture
def lab(loader):
    with Lab([loader]) as lab:
        yield lab


def named(some):
    return pytest.mark.parametrize("loader", some, ids=lambda loader: loader.name)


@named(LOADERS)
def test_undisturbed(lab, loader):
    """The files arrive, the loader reads them, and a second run asks no server."""
    with lab.cache():
        first = fingerprint(loader.read())
        asked = len(lab.server.asked)
        assert fingerprint(loader.read()) == first and len(lab.server.asked) == asked


def test_there_is_no_other_way_out():
    """Each source has a loader, and no module or lab downloads by other means."""
    assert {name for loader in LOADERS for name in loader.sources} == {*downloads.SOURCES, HANDLE}
    for path in [*(root() / "utils").glob("*.py"), *(root() / "labs").glob("*.py")]:
        found = re.findall(FETCHERS, path.read_text("utf-8"))
        assert not found or path.name == "downloads.py", f"{path.name} uses {found}"


def test_unknown_hashes_are_few():
    names = [name for name, source in downloads.SOURCES.items() if not source.sha256 and not source.members]
    assert names == ["convai2", "wt103-fwd", "wt103-bwd"]


@named({loader.name.partition(" ")[0]: loader for loader in LOADERS}.values())
def test_one_of_each_fault(lab, loader):
    """For each kind of fault one, drawn by a seed, and one loader of those that call the same function."""
    name = DICE.choice(loader.sources)
    body = content(name)
    for kind, some in faults(body, DICE).items():
        if kind != "slow" or loader is LOADERS[0]:
            outcome = lab.fault(loader, name, DICE.choice(some))
            assert outcome.clean_error and outcome.right_after and not outcome.problems, kind


@named([BY_NAME[name] for name in ("imdb.reviews", "items.blimp", "bert_tf.load_saved_model")])
def test_archives_that_leave_their_folder_or_fill_the_disk(lab, loader):
    (name,) = loader.sources
    for bodies in evil_archives(lab.file(name), content(name)).values():
        for body in bodies:
            outcome = lab.evil(loader, name, body)
            assert outcome.clean_error and outcome.right_after and not outcome.problems


def test_disk_full_two_at_once_and_killed(tmp_path):
    """The benchmark's trials of two loaders, in a process without the threads of torch and TensorFlow, which forks."""
    out = tmp_path / "faults.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.faults",
        "--loaders",
        "text.wikitext wikitext-2-raw",
        "convai",
    ]
    done = subprocess.run([*command, "--out", str(out)], cwd=root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = downloads.read_json(out)
    assert result["total"]["disk full"]["tried"] == 5 and result["total"]["two at once"]["tried"] == 12
    assert result["total"]["killed"]["tried"] > 8
    check(result)


def check(result):
    assert not [problem for loader in result["loaders"].values() for problem in loader["problems"]]
    for kind, row in result["total"].items():
        assert row["right_after"] == row["tried"] and not row["wrong"] and not row["other_problems"], kind
        if kind not in ("two at once", "killed", "killed too late"):
            assert row["refused"] == row["tried"], kind


def test_the_recorded_result():
    check(downloads.read_json(root() / "benchmarks" / "faults.json"))


@named([BY_NAME["items.blimp"]])
def test_what_a_killed_process_left_is_swept_away(lab, loader):
    with lab.cache() as cache:
        cache.mkdir()
        for name in ("old", "new"):
            (cache / f".{name}{downloads.PART}").mkdir()
            (cache / f".{name}{downloads.PART}" / "file").write_bytes(b"half")
        os.utime(cache / f".old{downloads.PART}", (0, 0))
        loader.read()
        assert [path.name for path in cache.glob(f".*{downloads.PART}")] == [f".new{downloads.PART}"]


@named([BY_NAME["items.blimp"]])
def test_a_sample_of_an_archive_is_not_taken_for_the_published_one(lab, loader, tmp_path, monkeypatch):
    """Both are unpacked in the same cache."""
    with lab.cache():
        (tmp_path / "BLiMP.zip").write_bytes(content("blimp").replace(b"rule_a", b"rule_c"))
        monkeypatch.setenv("COURSE_DATA", str(tmp_path))
        sample = downloads.fetch_folder("blimp")
        monkeypatch.delenv("COURSE_DATA")
        assert downloads.fetch_folder("blimp") != sample and loader.read()


@named([BY_NAME["bert_tf.load_saved_model"]])
def test_the_same_model_as_by_tensorflow_hub(lab, loader, tmp_path, monkeypatch):
    import tensorflow_hub

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    address = lab.server.url(HANDLE)
    with lab.cache():
        ours = downloads.fetch_model(address)
        theirs = Path(tensorflow_hub.resolve(address))
        assert fingerprint(ours) == fingerprint(theirs) and (ours / "saved_model.pb").is_file()


HUB = """
import sys, huggingface_hub as hub
for file in ("vocab.json", "model.safetensors", "model.safetensors"):
    path = hub.hf_hub_download("openai-community/gpt2", file, cache_dir=sys.argv[1])
    print(path, len(open(path, "rb").read()))
print(sorted(entry.path for entry in hub.HfApi().list_repo_tree("openai-community/gpt2")))
"""


def test_the_stand_in_speaks_as_the_hub(tmp_path):
    """Its own client takes files, the large ones through a redirect, and the list of a model."""
    begin = "huggingface.co/openai-community/gpt2/resolve/main"
    with Standin({f"{begin}/vocab.json": b"{}", f"{begin}/model.safetensors": bytes(1000)}) as server:
        more = {
            "HF_ENDPOINT": f"{server.address}/huggingface.co",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", HUB, str(tmp_path)], env=os.environ | more, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert [line.rpartition(" ")[2] for line in lines[:3]] == ["2", "1000", "1000"]
    assert lines[3] == "['model.safetensors', 'vocab.json']"
