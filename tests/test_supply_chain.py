"""What comes from outside: locked by hash, never executed when it is read, and under a known license."""

import ast
import hashlib
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from transformers import GPT2Config, GPT2LMHeadModel

from tests.stranger import Stranger
from tools import licenses
from tools.assignments import classes, submission
from utils import (
    bias,
    checkpoints,
    convai,
    downloads,
    evidence,
    imdb,
    items,
    longrun,
    plain,
    squad,
    tagging,
    training,
    treebank,
    ulmfit,
)
from utils.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "_ext"))
from claims_page import load_claims  # noqa: E402

CODE = sorted(
    path
    for folder in ("utils", "labs", "tools", "assignments", "benchmarks", "_ext")
    for path in (ROOT / folder).rglob("*.py")
)
CALLS = {  # what can execute what it reads, by full name or by the name of a method
    "builtins.eval", "builtins.exec", "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads",
    "joblib.load", "marshal.load", "marshal.loads", "pandas.read_pickle", "pickle.Unpickler", "pickle.load",
    "pickle.loads", "runpy.run_path", "shelve.open", "tensorflow.saved_model.load", "tensorflow_hub.KerasLayer",
    "tensorflow_hub.load", "yaml.full_load", "yaml.unsafe_load", "load_encoder", "load_learner", "load_pretrained",
    "load_model", "load_weights",
}  # fmt: skip
UNLESS = {  # ... and what can, unless it is called so
    "numpy.load": ("allow_pickle", "False"),
    "torch.load": ("weights_only", "True"),
    "yaml.load": ("Loader", "loader"),  # a name that the place below must explain
}
ALLOWED = {
    ("_ext/claims_page.py", "yaml.load"): "with the safe loader, in C where there is one",
    ("labs/04a_imdb_ulmfit_fastai.py", "load_encoder"): "files that the lab wrote, or through utils.ulmfit",
    ("labs/04a_imdb_ulmfit_fastai.py", "pickle.loads"): "shows what a pickle can do, with one that prints",
    ("labs/04b_squad_bert_tensorflow.py", "tensorflow_hub.load"): "a model that the lab exported",
    ("tools/assignments/classes.py", "yaml.load"): "with a loader that makes words, lists and mappings only",
    ("tools/assignments/source.py", "builtins.exec"): "wrong answers that stand in the repository",
    ("tools/assignments/trial.py", "builtins.exec"): "solutions and wrong answers of the repository",
    ("tools/assignments/worker.py", "builtins.exec"): "a student's cells, in a locked process of their own",
    ("utils/bert_tf.py", "tensorflow_hub.KerasLayer"): "a graph, of which only the weights are kept",
    ("utils/checks.py", "builtins.exec"): "checks that stand in the repository",
    ("utils/spread.py", "pickle.loads"): "what the recording that this worker serves has sent",
    ("utils/ulmfit.py", "load_encoder"): "after `read_pth` has read the same file as tensors",
}


def risks(path: Path) -> set[str]:
    """The names of what a Python file uses that can execute what it reads."""
    names: dict[str, str] = {"eval": "builtins.eval", "exec": "builtins.exec"}
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {
                each.asname or each.name.partition(".")[0]: each.name for each in node.names if each.asname
            }
            names |= {
                each.name.partition(".")[0]: each.name.partition(".")[0]
                for each in node.names
                if not each.asname
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}

    def full(node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return names.get(node.id, node.id)
        return f"{full(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"

    found = set()
    safe = set()
    for node in nodes:
        if isinstance(node, ast.Call):
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if given.get("trust_remote_code", "False") != "False":
                found.add("trust_remote_code")
            name = full(node.func)
            if name in UNLESS and given.get(UNLESS[name][0]) == UNLESS[name][1] and name != "yaml.load":
                safe.add(node.func)
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute) and node not in safe:
            name = full(node)
            method = node.attr if isinstance(node, ast.Attribute) else ""
            found |= {name} & (CALLS | UNLESS.keys()) | {method} & CALLS
    return found


def test_nothing_is_executed_but_in_places_that_say_why() -> None:
    found = {(str(path.relative_to(ROOT)), name) for path in CODE for name in risks(path)}
    assert found - ALLOWED.keys() == set(), "read it as data, or say in ALLOWED why it may be executed"
    assert ALLOWED.keys() - found == set(), "no longer there"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import torch\ntorch.load(path)", "torch.load"),
        ("from torch import load as get\nget(path, weights_only=False)", "torch.load"),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", "numpy.load"),
        ("import pandas as pd\nread = pd.read_pickle", "pandas.read_pickle"),
        ("from pickle import loads\nloads(data)", "pickle.loads"),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("model = Model.from_pretrained(name, trust_remote_code=True)", "trust_remote_code"),
        ("learner.load_encoder(name)", "load_encoder"),
        ("eval(text)", "builtins.eval"),
    ],
)
def test_the_search_finds(tmp_path: Path, code: str, name: str) -> None:
    (tmp_path / "code.py").write_text(code)
    assert risks(tmp_path / "code.py") == {name}


def test_the_search_passes_what_reads_data(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "import torch, numpy as np, yaml\ntorch.load(path, weights_only=True)\nmodel.eval()\nyaml.safe_load(text)\n"
        "np.load(path, allow_pickle=False)\ntrust(trust_remote_code=False)"
    )
    assert risks(tmp_path / "code.py") == set()


# ---- files of a stranger


def kept_recipe(path: Path) -> None:
    """Make the recipe of a checkpoint agree with whatever its weights are."""
    folder = path.parent
    recipe = {"sha256": downloads.sha256(path), "bytes": path.stat().st_size}
    (folder / "recipe.json").write_text(json.dumps(recipe))


def continued(path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=8, n_positions=8))
    batches = [torch.ones(2, 4, dtype=torch.long)] * 2
    training.pretrain(
        model, batches, lambda model, batch, step: model(batch, labels=batch).loss, 2, resume=path
    )


def kept_classifier(path: Path) -> None:
    (path.parent / "classifier.json").write_text("{}")
    ulmfit.load(path.parent)


def state(path: Path) -> None:
    kept_recipe(path)
    checkpoints.load_state(path.parent.name, path.parent.parent)


def handed_in(path: Path) -> None:
    raise CourseError(submission.read(path).problem)


LOADERS: dict[str, Callable[[Path], object]] = {
    "weights.pth": lambda path: checkpoints.read_pth(path, "get it again"),
    "vocabulary.pkl": ulmfit.words,
    "resume": continued,
    "model.safetensors": state,
    "kept/model.safetensors": kept_classifier,
    "tokenizer.json": lambda path: checkpoints.load_tokenizer(path.parent),
    "classifier.json": lambda path: ulmfit.load(path.parent),
    "settings.json": lambda path: longrun.compare(path, {"seed": 0}),
    "downloads.json": downloads.read_json,
    "squad.json": squad.read,
    "convai.json": convai.read,
    "parlai.txt": convai.from_parlai,
    "reviews.csv": ulmfit.table,
    "aclImdb": lambda path: imdb.reviews("train", path),
    "marvin.pickle": items.marvin,
    "marvin.json": items.marvin,
    "weat.jsonl": bias.read_test,
    "wino.txt": lambda path: bias.winobias(path, path),
    "trees.conllu": treebank.read,
    "names.conll": tagging.read_names,
    "runs.csv": evidence.read_runs,
    "rows.json": lambda path: evidence.load(path.stem, path.parent),
    "answers": lambda path: plain.loads(path.read_bytes().decode("latin-1")),
    "class.yml": classes.read_class,
    "claims.yml": load_claims,
    "notebook.ipynb": handed_in,
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", LOADERS)
def test_a_pickle_in_place_of_data_is_refused_and_not_executed(
    tmp_path: Path, name: str, protocol: int
) -> None:
    path, canary = tmp_path / "files" / name, tmp_path / "canary"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"model": Stranger(canary)}, protocol))
    refused(LOADERS[name], path, canary)


@pytest.mark.parametrize("name", ["weights.pth", "resume", "vocabulary.pkl"])
def test_a_stranger_among_tensors_is_refused_and_not_executed(tmp_path: Path, name: str) -> None:
    path, canary = tmp_path / name, tmp_path / "canary"
    for new in (True, False):
        torch.save({"a": torch.ones(2), "model": Stranger(canary)}, path, _use_new_zipfile_serialization=new)
        refused(LOADERS[name], path, canary)
    path.write_bytes(pickle.dumps([*"abc", Stranger(canary)]))
    refused(LOADERS[name], path, canary)


@pytest.mark.parametrize("name", ["class.yml", "claims.yml"])
def test_yaml_that_calls_is_refused_and_not_executed(tmp_path: Path, name: str) -> None:
    path, canary = tmp_path / name, tmp_path / "canary"
    path.write_text(f"name: !!python/object/apply:os.mkdir ['{canary}']\n")
    refused(LOADERS[name], path, canary)


def refused(load: Callable[[Path], object], path: Path, canary: Path) -> None:
    with pytest.raises(CourseError) as caught:
        load(path)
    assert not canary.exists(), "it was executed"
    sentence = str(caught.value)
    assert sentence.strip() and "\n" not in sentence and "Traceback" not in sentence


def test_the_stranger_would_do_it(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Stranger(tmp_path / "canary")))
    assert (tmp_path / "canary").is_dir()


# ---- what is locked


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_every_line_of_a_lock_has_hashes(lock: Path) -> None:
    if lock.name == "requirements-colab.txt":
        pytest.skip("ranges, for an environment that Colab locks")
    text = re.sub(r"^\s*#.*\n", "", lock.read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        assert re.match(r"[A-Za-z0-9._-]+==\S+( ;[^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*$", line), line[
            :80
        ]
    assert len(lines) >= 50


def test_installation_asks_for_hashes() -> None:
    installer = (ROOT / "tools" / "install.py").read_text("utf-8")
    assert '[*pip, "--require-hashes", "-r", name]' in installer
    for path in (ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / ".github" / "workflows").glob("*.yml")):
        for line in path.read_text("utf-8").splitlines():
            assert "pip install" not in line or "--require-hashes" in line, f"{path.name}: {line.strip()}"


def test_vendored_files_are_those_of_their_versions() -> None:
    vendored = json.loads((ROOT / "requirements" / "vendored.json").read_text("utf-8"))
    folder = ROOT / "web" / "vendor"
    listed = {
        f"{name}/{file}": hash_ for name, each in vendored.items() for file, hash_ in each["sha256"].items()
    }
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == listed
    version = re.search(r'version:"([\d.]+)"', (folder / "katex" / "katex.min.js").read_text("utf-8"))
    assert version[1] == vendored["katex"]["version"]


def test_actions_of_workflows_are_pinned_to_a_commit() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in path.read_text("utf-8").splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), (
                    f"{path.name}: {line}"
                )
        assert yaml.safe_load(path.read_text("utf-8"))["permissions"] == {"contents": "read"}, path.name


def test_every_locked_package_has_a_license() -> None:
    rows = re.findall(r"^\| (\S+) \| (.+?) \| (.+?) \| (\S*) \|$", licenses.LIST.read_text("utf-8"), re.M)
    assert {name: versions.split(", ") for name, versions, *_ in rows} == licenses.locked(), (
        "run `make licenses`"
    )
    without = [name for name, _, stated, _ in rows if not stated.strip() or stated == licenses.UNKNOWN]
    assert without == []
    assert "requirements/LICENSES.md" in (ROOT / "README.md").read_text("utf-8")
