"""IMDb: the reader of the published folders, and BERT's training on them, killed and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from tests.stranger import Stranger
from utils import downloads, imdb, imdb_bert
from utils.errors import CourseError
from utils.imdb_bert import Settings, choose, last_whole, train
from utils.settings import root

COUNT = 120  # reviews of each kind
WORDS = {
    "neg": "bad awful dull poor".split(),
    "pos": "good great fine lovely".split(),
    "both": "the film was a story with plot and cast".split(),
}
SMALL = {"held_out": 40, "rows": 4, "length": 40, "every": 10, "epochs": 2.0, "rate": 3e-3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Generated reviews in IMDb's folders, below a folder for COURSE_DATA."""
    folder, random = tmp_path_factory.mktemp("data"), Random(0)
    for split in ("train", "test"):
        for stars, kind in (("1", "neg"), ("10", "pos")):
            for number in range(COUNT):
                words = [
                    random.choice(WORDS[random.choice((kind, "both"))])
                    for _ in range(random.randrange(6, 16))
                ]
                path = folder / "imdb" / "aclImdb" / split / kind / f"{number}_{stars}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(" ".join(words) + "<br /><br />the end", encoding="utf-8")
    return folder


def tiny_bert(folder, words, dropout):
    """A BERT with random weights and one word piece per word, as a folder of save_pretrained."""
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.1, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bert(corpus, tmp_path_factory):
    """Folders of a tiny BERT with dropout and of one without."""
    words = {w for path in corpus.rglob("*.txt") for w in imdb.plain(path.read_text()).split()}
    folder = tmp_path_factory.mktemp("bert")
    return {d: tiny_bert(folder / f"{d}", words, d) for d in (0.1, 0.0)}


@pytest.fixture
def data(corpus, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(corpus))
    return corpus


# ---- reading


def test_reviews_of_the_published_folders(data):
    found = imdb.reviews("train")
    assert [r.label for r in found] == [0] * COUNT + [1] * COUNT
    assert [r.file for r in found[9:12]] == [f"train/neg/{n}_1.txt" for n in (9, 10, 11)], (
        "in the order of numbers"
    )
    assert "<br /><br />" in found[0].text and "<" not in imdb.plain(found[0].text)
    assert imdb.plain("Good.<br /><br/>Bad  <br>.\n") == "Good. Bad ."


def test_the_folder_may_be_aclimdb_itself(data, tmp_path, monkeypatch):
    (tmp_path / "imdb").symlink_to(data / "imdb" / "aclImdb")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert len(imdb.reviews("test")) == 2 * COUNT


def test_reviews_of_any_folder(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))  # which holds nothing
    inner = corpus / "imdb" / "aclImdb"
    found = imdb.reviews("train", inner)
    assert len(found) == 2 * COUNT and found == imdb.reviews("train", str(inner.parent))
    assert found[0].file == "train/neg/0_1.txt"


def test_fastais_folder_has_unsup_beside_train(tmp_path):
    place(tmp_path, "unsup/0_0.txt")
    place(tmp_path, "train/pos/0_9.txt")
    unsup = [imdb.Review("Good.", None, "unsup/0_0.txt")]
    assert imdb.reviews("unsup", tmp_path / "imdb") == unsup
    place(tmp_path, "train/unsup/1_0.txt")
    assert imdb.reviews("unsup", tmp_path / "imdb")[0].file == "train/unsup/1_0.txt"


@pytest.mark.parametrize(
    ("split", "folder", "message"),
    [
        ("train", "nowhere", r"nowhere is no folder: name the one that holds train and test of IMDb"),
        ("train", "imdb/aclImdb/train/neg/0_1.txt", r"0_1\.txt is no folder: name the one"),
        ("train", "imdb/aclImdb", r"train/pos is no folder: IMDb reviews were expected in it"),
        ("train", "imdb/aclImdb/train", r"train/train/neg is no folder"),
        ("test", "imdb", r"test/neg is no folder"),
        ("unsup", "imdb", r"train/unsup is no folder"),
    ],
)
def test_other_folders_that_are_not_imdb(tmp_path, split, folder, message):
    place(tmp_path, "train/neg/0_1.txt")
    with pytest.raises(CourseError, match=message):
        imdb.reviews(split, tmp_path / folder)


@pytest.mark.parametrize("leading", ["aclImdb/", ""])
def test_the_archive_is_unpacked_once(corpus, tmp_path, monkeypatch, leading):
    """Published under COURSE_DATA; `fetch` takes what stands there."""
    monkeypatch.setattr(downloads, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with tarfile.open(tmp_path / "aclImdb_v1.tar.gz", "w:gz") as archive:
        archive.add(corpus / "imdb" / "aclImdb" / "train" / "neg", f"{leading}train/neg")
        archive.add(corpus / "imdb" / "aclImdb" / "train" / "pos", f"{leading}train/pos")
    assert len(imdb.reviews("train")) == 2 * COUNT
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert len(imdb.reviews("train")) == 2 * COUNT


def place(folder, name, content=b"Good."):
    path = folder / "imdb" / "aclImdb" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train/neg/0_1.txt": b"Bad."}, r"train/pos is no folder: IMDb reviews were expected in it"),
        ({"train/neg/0_1.txt": b"Bad.", "train/pos/.hidden": b"x"}, r"train/pos has no review"),
        ({"train/neg/0_1.txt": b"Bad.", "train/pos/readme": b"x"}, r"pos/readme is not called"),
        ({"train/neg/0_1.txt": b"caf\xe9"}, r"neg/0_1\.txt is not UTF-8, its byte 3 is 0xe9"),
        ({"train/neg/0_1.txt": b" \n"}, r"neg/0_1\.txt is empty"),
        (
            {"train/neg/0_9.txt": b"Bad."},
            r"neg/0_9\.txt is not called <number>_<stars>\.txt with 1 to 4 stars",
        ),
        ({"train/neg/first.txt": b"Bad."}, r"neg/first\.txt is not called"),
        ({"test/neg/0_1.txt": b"Bad."}, r"train/neg is no folder"),
    ],
)
def test_wrong_folders(tmp_path, monkeypatch, files, message):
    for name, content in files.items():
        place(tmp_path, name, content)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(CourseError, match=message):
        imdb.reviews("train")


def test_unsup_and_unknown_splits(tmp_path, monkeypatch):
    place(tmp_path, "train/unsup/0_0.txt")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert imdb.reviews("unsup") == [imdb.Review("Good.", None, "train/unsup/0_0.txt")]
    with pytest.raises(CourseError, match="'dev' is not a split of IMDb: choose one of train, test, unsup"):
        imdb.reviews("dev")


# ---- choosing


def test_held_out_reviews_are_apart_and_do_not_depend_on_the_labels(data):
    pool = imdb.reviews("train")
    everything, held = choose(pool, Settings(held_out=40))
    few, held_again = choose(pool, Settings(held_out=40, labels=20))
    assert len(everything) == 2 * COUNT - 40 and held == held_again and len(held) == 40
    assert not {r.file for r in everything} & {r.file for r in held} and {r.file for r in few} < {
        r.file for r in everything
    }
    assert [sum(r.label == kind for r in few) for kind in (0, 1)] == [10, 10]
    assert held != choose(pool, Settings(held_out=40, seed=1))[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": 400}, "400 labels were asked for, and beside 40 held-out reviews there are"),
        ({"held_out": 240}, "There are 240 training reviews, and 240 were to be held out: hold out fewer"),
    ],
)
def test_too_few_reviews(data, options, message):
    with pytest.raises(CourseError, match=message):
        choose(imdb.reviews("train"), Settings(**({"held_out": 40} | options)))


# ---- training


def command(output, settings, launcher=("-m",)):
    words = [sys.executable, *launcher, "utils.imdb_bert", "--output", str(output)]
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def start(corpus, output, settings, launcher=("-m",)):
    """Begin a training in a process of its own."""
    env = os.environ | {
        "COURSE_DATA": str(corpus),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root()),
    }
    return subprocess.Popen(
        command(output, settings, launcher), env=env, cwd=root(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    return out


def weights(output):
    return load_file(output / "model" / "model.safetensors")


def test_killed_training_ends_as_if_nothing_had_happened(corpus, bert, tmp_path):
    """SIGKILL after a checkpoint, in the middle of the training; the second call, by `accelerate launch`, goes on."""
    settings = SMALL | {"model": bert[0.1], "test": True}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    calm, victim = start(corpus, whole, settings), start(corpus, killed, settings)
    while not last_whole(killed):
        assert victim.poll() is None, victim.stderr.read()[-3000:]
        time.sleep(0.005)
    victim.kill()
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    assert not (killed / "result.json").exists() and not (killed / "checkpoint-100").exists()
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "-m")
    out = ended(start(corpus, killed, settings, launcher))
    assert "going on from checkpoint-" in out
    assert "going on" not in ended(calm)
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, killed)]
    assert results[0] == results[1] and results[0]["updates"] == 100
    assert results[0]["validation"] > 0.6, "such reviews can be learned"
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(killed)[name]), name
    assert ended(start(corpus, killed, settings)).splitlines()[-1] == json.dumps(results[0]), (
        "only prints the result"
    )


def test_two_processes_do_what_one_does(corpus, bert, tmp_path, data):
    """Without dropout: they share the rows of an update. On GPUs `accelerate launch` starts them by this launcher."""
    settings = SMALL | {"model": bert[0.0], "epochs": 0.4}
    launcher = (
        "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint",
        "localhost:0", "-m",
    )  # fmt: skip
    for process in [
        start(corpus, tmp_path / "both", settings, launcher),
        start(corpus, tmp_path / "one", settings),
    ]:
        ended(process)
    before = load_file(Path(bert[0.0]) / "model.safetensors")
    name = "bert.encoder.layer.0.output.dense.weight"
    one, two = weights(tmp_path / "one"), weights(tmp_path / "both")
    assert (one[name] - before[name]).abs().max() > 1e-3
    assert (one[name] - two[name]).abs().max() < 1e-4
    assert sorted(p.name for p in tmp_path.glob("both/checkpoint-20/whole-*")) == ["whole-0", "whole-1"]
    with pytest.raises(CourseError, match="both holds a training with processes=2, and now processes=1"):
        train(tmp_path / "both", Settings(**settings))


@pytest.mark.parametrize("method", imdb_bert.METHODS)
def test_methods_train_what_they_should(data, bert, tmp_path, method):
    """And what was lost with its last checkpoint comes out the same again."""
    settings = Settings(**SMALL | {"model": bert[0.1], "method": method, "labels": 40, "epochs": 2})
    found = train(tmp_path, settings)
    before, after = load_file(Path(bert[0.1]) / "model.safetensors"), weights(tmp_path)
    changed = {name for name in before if name in after and not torch.equal(before[name], after[name])}
    encoder = {name for name in changed if name.startswith("bert.")}
    if method in ("full", "scratch"):
        assert found["share"] == 1 and len(encoder) > 20
    elif method == "bias":
        assert encoder and all(name.endswith("bias") for name in encoder)
    else:
        assert not encoder
        assert any("adapter" in name for name in after) == (method == "adapters")
    assert 0 < found["share"] <= 1 and found["reviews"] == 40 and found["updates"] == 20
    (tmp_path / "result.json").unlink()
    for path in (tmp_path / "checkpoint-20" / "whole-0", tmp_path / "checkpoint-20" / "model.safetensors"):
        path.unlink()  # as a kill in the middle of writing leaves it
    assert last_whole(tmp_path).endswith("checkpoint-10")
    assert train(tmp_path, settings) == found
    for name, value in weights(tmp_path).items():
        assert torch.equal(value, after[name]), name


def test_damaged_checkpoints(data, bert, tmp_path):
    """One sentence for each; the Trainer itself would train on without an optimizer's state that is missing."""
    settings = Settings(**SMALL | {"model": bert[0.1], "labels": 40, "epochs": 2})
    found = train(tmp_path, settings)
    (tmp_path / "result.json").unlink()
    shutil.rmtree(tmp_path / "checkpoint-20")  # at the end random numbers are not read
    last = tmp_path / "checkpoint-10"
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth"):
        content = (last / name).read_bytes()
        (last / name).unlink()
        with pytest.raises(
            CourseError, match=f"checkpoint-10 is damaged .it lacks {name}.: delete it to go on"
        ):
            train(tmp_path, settings)
        (last / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(CourseError, match="checkpoint-10 is damaged .*: delete it to go on") as refused:
            train(tmp_path, settings)
        assert "\n" not in str(refused.value)
        (last / name).write_bytes(content)
    (tmp_path / "checkpoint-15").mkdir()  # cut off by a kill
    assert train(tmp_path, settings) == found and not (tmp_path / "checkpoint-15").exists()


def test_a_kill_before_checkpoints_are_discarded_costs_nothing(data, bert, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    settings = Settings(**SMALL | {"model": bert[0.0], "labels": 8, "epochs": 5, "discard": True})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(imdb_bert, "_discard", stop)
        train(tmp_path, settings)
    assert last_whole(tmp_path)
    monkeypatch.setattr(imdb_bert, "_trainer", None)
    assert train(tmp_path, settings)["updates"] == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "settings.json"]


def test_weights_under_tensorflows_names(bert, tmp_path):
    """The published bert-base-uncased calls the weights of its norms gamma and beta, and has heads of its own."""
    from safetensors.torch import save_file

    state = load_file(Path(bert[0.0]) / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        + 1
        for name, value in state.items()
        if not name.startswith("classifier.")
    }
    save_file(old | {"cls.predictions.bias": torch.zeros(3)}, tmp_path / "old.safetensors")
    model, _ = imdb_bert._model(Settings(model=bert[0.0]))
    imdb_bert._fill(model.bert, tmp_path / "old.safetensors")
    for name, value in model.state_dict().items():
        if name.startswith("bert."):
            assert torch.equal(value, state[name] + 1), name


def test_another_shape_is_refused(bert, tmp_path):
    from safetensors.torch import save_file

    state = load_file(Path(bert[0.0]) / "model.safetensors")
    state["bert.pooler.dense.bias"] = torch.zeros(7)
    save_file(state, tmp_path / "other.safetensors")
    model, _ = imdb_bert._model(Settings(model=bert[0.0]))
    with pytest.raises(CourseError, match=r"tensor pooler\.dense\.bias is .*7.* in the file"):
        imdb_bert._fill(model.bert, tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "half"}, "'half' is not a method: choose one of full, scratch, head, bias, adapters"),
        ({"labels": 3}, "3 labels cannot be half positive and half negative"),
        ({"held_out": 0}, "At least one review must be held out"),
        ({"length": 600}, "length 3 to 512 word pieces"),
        ({"model": "nowhere"}, r"nowhere has no config\.json: name a folder written by save_pretrained"),
    ],
)
def test_wrong_settings(data, tmp_path, options, message):
    with pytest.raises(CourseError, match=message):
        train(tmp_path, Settings(**SMALL | options))


def test_a_checkpoint_of_a_stranger_is_not_executed(data, bert, tmp_path):
    settings = Settings(**SMALL | {"model": bert[0.0], "epochs": 0.5})
    train(tmp_path / "run", settings)
    (tmp_path / "run" / "result.json").unlink()
    checkpoint = Path(last_whole(tmp_path / "run"))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        kept = (checkpoint / name).read_bytes()
        torch.save({"state": Stranger(tmp_path / "canary")}, checkpoint / name)
        with pytest.raises(CourseError, match=f"A file in {checkpoint} asks to call something"):
            train(tmp_path / "run", settings)
        (checkpoint / name).write_bytes(kept)
    assert not (tmp_path / "canary").exists()


def test_other_settings_in_the_same_folder(data, bert, tmp_path, capsys):
    with pytest.raises(CourseError, match="has no config"):
        train(tmp_path, Settings(**SMALL | {"model": "nowhere"}))
    settings = SMALL | {"model": bert[0.0], "labels": 8, "discard": True}
    train(tmp_path, Settings(**settings))  # a wrong setting before is no obstacle
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "settings.json"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        imdb_bert.main(command(tmp_path, settings | {"seed": 1})[3:])
    assert end.value.code == 1
    assert capsys.readouterr().err.endswith(
        "holds a training with seed=0, and now seed=1 was asked for: use the same settings to go on, or another "
        "--output.\n"
    )
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(CourseError, match="does not hold the settings of a training"):
        train(tmp_path, Settings(**settings))
