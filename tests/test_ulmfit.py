"""fastai beside the course: pretrained pairs, tables, encoders, interrupted training, kept classifiers."""

import json
import os
import pickle
import random
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import torch
from fastai.text.all import (
    AWD_LSTM,
    BaseTokenizer,
    Callback,
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    L,
    TextBlock,
    accuracy,
    awd_lstm_clas_config,
    awd_lstm_lm_config,
    language_model_learner,
    set_seed,
    text_classifier_learner,
)

from tests.archives import make_tar
from tests.small_awd_lstm import MARKS, SMALL, VOCABULARY, WORDS, saved, state_of_fastai
from utils import checkpoints, downloads, imdb, ulmfit
from utils.downloads import SOURCES, Source
from utils.errors import CourseError
from utils.settings import root
from utils.world import World, tasks

SAMPLE = root().parent / "shared" / "data" / "imdb" / "aclImdb"


class Hostile:
    """What a stranger could pickle: reading it freely creates the file `canary` in the current folder."""

    def __reduce__(self):
        return os.mkdir, ("canary",)


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)  # where a canary would appear
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    assert not (tmp_path / "canary").exists(), "a file was executed"


def texts(count=48):
    dice = random.Random(0)
    rows = [" ".join(dice.choices(WORDS, k=dice.randrange(4, 14))) for _ in range(count)]
    labels = ["good" if "a" in row.split() else "bad" for row in rows]
    return pd.DataFrame({"text": rows, "label": labels, "valid": [i % 6 == 0 for i in range(count)]})


def loaders(vocabulary=None, is_lm=False, backwards=False, rows=None, tok=None):
    block = TextBlock.from_df(
        "text",
        vocab=vocabulary,
        is_lm=is_lm,
        seq_len=8,
        min_freq=1,
        n_workers=0,
        backwards=backwards,
        tok=tok,
    )
    blocks, labels = (block, {}) if is_lm else ((block, CategoryBlock), {"get_y": ColReader("label")})
    made = DataBlock(blocks=blocks, get_x=ColReader("text"), splitter=ColSplitter("valid"), **labels)
    sizes = {"bs": 4, "num_workers": 0} | ({"seq_len": 8} if is_lm else {})
    return made.dataloaders(texts() if rows is None else rows, **sizes)


def language_model(folder, seed=0, sizes=SMALL, backwards=False, drop_mult=0.5, **more):
    set_seed(seed)
    options = {"config": awd_lstm_lm_config | sizes, "drop_mult": drop_mult, "pretrained": False} | more
    data = loaders(is_lm=True, backwards=backwards)
    return language_model_learner(data, AWD_LSTM, path=folder, model_dir=".", metrics=accuracy, **options)


def classifier(folder, seed=0, sizes=SMALL, vocabulary=None, backwards=False, drop_mult=0.5, **more):
    set_seed(seed)
    data = loaders(vocabulary, backwards=backwards, **more)
    config = awd_lstm_clas_config | sizes
    options = {"config": config, "drop_mult": drop_mult, "pretrained": False, "metrics": accuracy}
    return text_classifier_learner(data, AWD_LSTM, path=folder, model_dir=".", **options)


def fit(learner, *callbacks, epochs=3, rate=1e-2):
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs, rate, cbs=list(callbacks))


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


# ---- the pretrained pair


@pytest.mark.parametrize("name", ["awd_lstm", "ulmfit_forward", "ulmfit_backward"])
def test_pretrained_pair_of_the_course(tmp_path, monkeypatch, name):
    if not (checkpoints.FOLDER / name / "model.safetensors").exists():
        pytest.skip(f"no checkpoint {name} yet")
    direction = "backward" if name == "ulmfit_backward" else "forward"
    monkeypatch.setitem(ulmfit.MINI, direction, name)
    before = torch.get_rng_state()
    names = ulmfit.pretrained(direction, tmp_path / "pair")
    assert torch.equal(before, torch.get_rng_state()), "random numbers are left alone"
    assert names == [name, name] and ulmfit.pretrained(direction, tmp_path / "pair") == names
    vocabulary = ulmfit.words(tmp_path / "pair" / f"{name}.pkl")
    assert vocabulary == checkpoints.config(name)["vocabulary"]
    reviews = ulmfit.frame(tasks.unlabeled(World(0), 60, 0, "film")).assign(valid=[True] * 20 + [False] * 40)
    config = awd_lstm_lm_config | ulmfit.shape(direction)
    data = loaders(is_lm=True, rows=reviews)
    learner = language_model_learner(
        data, AWD_LSTM, config=config, pretrained_fnames=names, path=tmp_path, model_dir="pair"
    )
    state = checkpoints.load_state(name)
    own = learner.model.state_dict()
    assert torch.equal(own["0.rnns.1.module.weight_ih_l0"], state["0.rnns.1.module.weight_ih_l0"])
    key = "0.encoder.weight" if "0.encoder.weight" in state else "0.encoder_dp.emb.weight"
    key = key if key in state else "1.decoder.weight"
    for number, word in enumerate(data.vocab):
        row = state[key][vocabulary.index(word)] if word in vocabulary else state[key].mean(0)
        assert torch.allclose(own["0.encoder.weight"][number], row), word
    assert {word for word in data.vocab if word != "xxfake"} - set(vocabulary), "words of films are new"


@pytest.fixture
def full(tmp_path, monkeypatch):
    """The full profile with small sizes, a cache of its own and an empty COURSE_DATA."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("COURSE_PROFILE", "full")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(downloads, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(ulmfit, "awd_lstm_lm_config", awd_lstm_lm_config | SMALL)
    return tmp_path / "data"


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("direction", "name", "pth"),
    [("forward", "wt103-fwd", "lstm_fwd.pth"), ("backward", "wt103-bwd", "lstm_bwd.pth")],
)
def test_pretrained_pair_of_fastai(full, tmp_path, direction, name, pth, old):
    """A made-up archive in the published layout comes out as fastai itself would have loaded its files."""
    state = state_of_fastai(VOCABULARY, SMALL, old)
    content = saved({"model": state} if old else state)
    files = {f"{name}/{pth}": content, f"{name}/itos_wt103.pkl": pickle.dumps(VOCABULARY, 2)}
    make_tar(full / f"{name}.tgz", files | {f"{name}/._itos_wt103.pkl": b"x"})
    names = ulmfit.pretrained(direction, tmp_path / "pair")
    assert names == [name, name]
    ours = language_model(tmp_path / "pair", pretrained_fnames=names)
    (tmp_path / "raw.pth").write_bytes(content)
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps(VOCABULARY))
    theirs = language_model(tmp_path, pretrained_fnames=["raw", "raw"])
    assert same(ours.model.state_dict(), theirs.model.state_dict())
    row = ours.model[0].encoder.weight[ours.dls.vocab.index("c")]
    assert torch.equal(row, state["0.encoder.weight"][VOCABULARY.index("c")])


def test_an_unpacked_folder_in_course_data(full, tmp_path, capsys):
    folder = full / "wt103-fwd"
    folder.mkdir()
    (folder / "lstm_fwd.pth").write_bytes(saved(state_of_fastai(VOCABULARY, SMALL, False)))
    (folder / "itos_wt103.pkl").write_bytes(pickle.dumps(VOCABULARY))
    assert ulmfit.pretrained("forward", tmp_path / "pair") == ["wt103-fwd", "wt103-fwd"]
    assert "which is not the published file" in capsys.readouterr().out


def test_sizes(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "full")
    assert ulmfit.shape("backward") == {"emb_sz": 400, "n_hid": 1152, "n_layers": 3}
    with pytest.raises(CourseError, match="'both' is no reading direction: choose one of forward, backward"):
        ulmfit.shape("both")


GOOD = {
    "w/lstm_fwd.pth": saved(state_of_fastai(VOCABULARY, SMALL, False)),
    "w/i.pkl": pickle.dumps(VOCABULARY),
}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"w/i.pkl": pickle.dumps(Hostile())}, r"i\.pkl asks to call posix\.mkdir, .*nothing was executed"),
        ({"w/i.pkl": pickle.dumps([*WORDS, Hostile()])}, r"i\.pkl asks to call posix\.mkdir"),
        ({"w/i.pkl": pickle.dumps(VOCABULARY)[:-9]}, r"i\.pkl is no pickled list of words"),
        ({"w/lstm_fwd.pth": saved({"a": Hostile()})}, r"lstm_fwd\.pth asks to call posix\.mkdir.*nothing was exe"),
        ({"w/lstm_fwd.pth": pickle.dumps(Hostile())}, r"lstm_fwd\.pth .* nothing was executed"),
        ({"w/lstm_fwd.pth": b"not torch"}, r"lstm_fwd\.pth is damaged"),
        ({"w/lstm_fwd.pth": saved([1])}, r"lstm_fwd\.pth holds no named tensors"),
        ({"w/lstm_fwd.pth": saved({"0.encoder.weight": 3})}, r"lstm_fwd\.pth is not the AWD-LSTM of emb_sz=8"),
        (
            {"w/i.pkl": pickle.dumps(VOCABULARY[:-1])},
            r"lstm_fwd\.pth is not the AWD-LSTM of emb_sz=8, n_hid=12, n_layers=3 that 21 words ask for",
        ),
        ({"w/j.pkl": pickle.dumps(VOCABULARY)}, r"holds 2 \.pkl files, and one was expected"),
        ({"w/lstm_fwd.pth": None}, r"holds 0 \.pth files"),
        ({"../../up.pkl": b"x"}, r"which would leave its folder: do not use it"),
    ],
)  # fmt: skip
def test_archives_that_are_not_fastais(full, tmp_path, files, message):
    kept = {name: content for name, content in (GOOD | files).items() if content is not None}
    make_tar(full / "wt103-fwd.tgz", kept)
    with pytest.raises(CourseError, match=message) as caught:
        ulmfit.pretrained("forward", tmp_path / "pair")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pair").exists()


def test_an_archive_that_changed_after_its_first_download_is_refused(full, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    published = make_tar(tmp_path / "site" / "wt103-fwd.tgz", GOOD)
    handler = type("Silent", (SimpleHTTPRequestHandler,), {"log_message": lambda *a: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=published.parent)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}/wt103-fwd.tgz"
        monkeypatch.setitem(SOURCES, "wt103-fwd", Source(url, "not stated"))
        ulmfit.pretrained("forward", tmp_path / "pair")
        first = downloads.sha256(published)
        assert (tmp_path / "cache" / "wt103-fwd.tgz.sha256").read_text() == f"{first}  wt103-fwd.tgz\n"
        make_tar(published, GOOD | {"w/i.pkl": pickle.dumps(Hostile())})
        (tmp_path / "cache" / "wt103-fwd.tgz").unlink()
        with pytest.raises(CourseError, match=f"wrong SHA-256, expected {first} and found"):
            ulmfit.pretrained("forward", tmp_path / "pair")
        http.shutdown()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_words(tmp_path, protocol):
    path = tmp_path / "words.pkl"
    path.write_bytes(pickle.dumps([*VOCABULARY, "xxfake", "xxfake", "naïve"], protocol))
    assert ulmfit.words(path)[-3:] == ["xxfake", "xxfake", "naïve"]
    for content in (Hostile(), L(WORDS)):
        path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(CourseError, match="asks to call .*: nothing was executed, do not use the file"):
            ulmfit.words(path)
    for content in ([1, 2], {"a": 1}, "words", []):
        path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(CourseError, match="holds no list of words"):
            ulmfit.words(path)


def test_words_that_cannot_be_read(tmp_path):
    with pytest.raises(CourseError, match=r"none\.pkl cannot be read \(No such file or directory\)"):
        ulmfit.words(tmp_path / "none.pkl")


# ---- tables


def test_frames_of_all_kinds_of_reviews():
    labeled = tasks.sentiment(World(0), 4, "train", 0, "film")
    found = ulmfit.frame(labeled)
    assert found["text"].tolist() == [" ".join(r.words) for r in labeled]
    assert found["label"].tolist() == [r.label for r in labeled]
    assert list(ulmfit.frame([("a", "film"), "good<br /><br />one"])["text"]) == ["a film", "good one"]
    published = [imdb.Review("A <i>film</i>.<br />Good", 1, "train/pos/0_9.txt")]
    assert ulmfit.frame(published).to_dict("records") == [{"text": "A <i>film</i>. Good", "label": 1}]
    assert list(ulmfit.frame([imdb.Review("Film", None, "train/unsup/0_0.txt")])) == ["text"]


@pytest.mark.parametrize(
    ("reviews", "message"),
    [
        ([], "The list of reviews has no review"),
        (["good", " \n"], "Review 2 is empty"),
        ([()], "Review 1 is empty"),
        ([imdb.Review("<br />", 1, "train/pos/0_9.txt")], r"Review train/pos/0_9\.txt is empty"),
        (
            [imdb.Review("a", 1, "x"), imdb.Review("b", None, "y")],
            "has no label for review 2, and others have",
        ),
    ],
)
def test_wrong_reviews(reviews, message):
    with pytest.raises(CourseError, match=message):
        ulmfit.frame(reviews)


def test_a_table_of_the_readers_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('﻿id,review,sentiment\r\n1,"Good,<br />very\ngood",pos\r\n2,NA,neg\r\n', encoding="utf-8")
    found = ulmfit.table(path, text="review", label="sentiment")
    assert found.to_dict("list") == {"text": ["Good, very good", "NA"], "label": ["pos", "neg"]}
    assert list(ulmfit.table(str(path), text="review", label=None)) == ["text"]
    path.write_text("text,label\nfilm <3 <unk>,1\nb,0\n")
    assert ulmfit.table(path)["label"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("review,sentiment\na,1\n", r"mine\.csv has no column 'text' but 'review', 'sentiment': say which"),
        ("text,stars\na,1\n", r"has no column 'label' but 'text', 'stars'"),
        ("text;label\na;1\n", r"has no column 'text' but 'text;label'"),
        ("text,label\na,1\n ,0\n", r"Row 2 of .*mine\.csv is empty"),
        ("text,label\n<br />,1\n", r"Row 1 of .*mine\.csv is empty"),
        ("text,label\na,1\n<p>b</p>,0\n", r"Row 2 of .*mine\.csv holds the HTML tag <p>, which would be read as"),
        ("text,label\n<A HREF='x'>b</A>,0\n", "holds the HTML tag <A HREF='x'>"),
        ("text,label\na,1\nb,\n", r"mine\.csv has no label for review 2"),
        ("text,label\n", r"mine\.csv has no review"),
        ("text,label\nwell, good,1\n", "has rows with more fields than its first line.*: put texts with commas"),
        ("text,label\na,1\nwell, good,1\n", r"mine\.csv cannot be read as CSV \("),
        ('text,label\n"a,1\n', r"mine\.csv cannot be read as CSV \("),
        ("", r"mine\.csv is empty"),
        (b"text,label\ncaf\xe9,1\n", r"mine\.csv is not UTF-8"),
        (None, r"mine\.csv cannot be read \(No such file"),
    ],
)  # fmt: skip
def test_wrong_tables(tmp_path, content, message):
    path = tmp_path / "mine.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CourseError, match=message) as caught:
        ulmfit.table(path)
    assert "\n" not in str(caught.value)


# ---- the encoder


def test_an_encoder_goes_from_the_language_model_to_the_classifier(tmp_path):
    learner = language_model(tmp_path)
    ulmfit.save_encoder(learner, "encoder")
    target = classifier(tmp_path, 1, vocabulary=learner.dls.vocab)
    ulmfit.load_encoder(target, "encoder")
    assert same(learner.model[0].state_dict(), target.model[0].module.state_dict())
    assert target.opt.frozen_idx == 4, "frozen but for the head, as fastai does"


def test_fastai_is_silent_about_another_order_of_words_and_the_course_is_not(tmp_path):
    learner = language_model(tmp_path)
    ulmfit.save_encoder(learner, "encoder")
    vocabulary = list(learner.dls.vocab)
    vocabulary[9:11] = vocabulary[10:8:-1]
    target = classifier(tmp_path, vocabulary=vocabulary)
    target.load_encoder("encoder")
    with pytest.raises(
        CourseError, match=r"Encoder encoder has '\w' as word 9 and this classifier '\w': give"
    ) as e:
        ulmfit.load_encoder(target, "encoder")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sizes": SMALL | {"n_hid": 16}},
            "has the n_hid 12 and this classifier 16: build both with the same",
        ),
        ({"sizes": SMALL | {"emb_sz": 16}}, "has the emb_sz 8 and this classifier 16"),
        ({"sizes": SMALL | {"n_layers": 2}}, "has the n_layers 3 and this classifier 2"),
        ({"backwards": True}, "has the reading direction forward and this classifier backward"),
        ({"vocabulary": [*MARKS, *WORDS]}, "word"),
        ({"drop_mult": 0.0}, r"no weight dropout \(drop_mult=0\), and fastai can't train"),
    ],
)
def test_encoders_that_do_not_fit(tmp_path, options, message):
    learner = language_model(tmp_path)
    ulmfit.save_encoder(learner, "encoder")
    target = classifier(tmp_path, **{"vocabulary": learner.dls.vocab} | options)
    with pytest.raises(CourseError, match=message):
        ulmfit.load_encoder(target, "encoder")


def test_a_longer_vocabulary_is_counted(tmp_path):
    learner = language_model(tmp_path)
    ulmfit.save_encoder(learner, "encoder")
    count = len(learner.dls.vocab)
    target = classifier(tmp_path, vocabulary=[*learner.dls.vocab, "more"])
    with pytest.raises(CourseError, match=f"has {count} words and this classifier {count + 1}: give"):
        ulmfit.load_encoder(target, "encoder")


def test_no_weight_dropout_still_crashes_in_fastai(tmp_path):
    """When fastai repairs this, the sentence about drop_mult=0 can go."""
    with pytest.raises(TypeError, match="cannot assign"):
        fit(classifier(tmp_path, drop_mult=0.0), epochs=1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("encoder.json", None, r"encoder\.json cannot be read \(No such file"),
        ("encoder.json", b"{", r"encoder\.json, line 1, column 2: this is not JSON"),
        ("encoder.json", b"[]", r"encoder\.json is not a JSON object"),
        ("encoder.json", b"{}", r"has the reading direction None"),
        ("encoder.pth", None, r"encoder\.pth cannot be read \(No such file"),
        ("encoder.pth", saved({"x": Hostile()}), r"encoder\.pth asks to call posix\.mkdir, .*nothing was executed"),
        ("encoder.pth", saved({"x": torch.ones(1)}), r"encoder\.pth does not fit its model: tensor encoder\.w"),
    ],
)  # fmt: skip
def test_damaged_encoders(tmp_path, name, content, message):
    learner = language_model(tmp_path)
    ulmfit.save_encoder(learner, "encoder")
    target = classifier(tmp_path, vocabulary=learner.dls.vocab)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CourseError, match=message):
        ulmfit.load_encoder(target, "encoder")


# ---- interrupted training


class Stop(Callback):
    """Interrupts a training at the n-th time that an event happens, as a reader's Ctrl-C does."""

    order = 90

    def __init__(self, at, event="after_batch"):
        self.at, self.seen = at, 0
        setattr(self, event, self.count)

    def count(self):
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt


MAKE = {"language model": language_model, "classifier": classifier}


def made(kind, folder, seed=0):
    learner = MAKE[kind](folder, seed)
    learner.freeze_to(-2)
    return learner


def undisturbed(kind, folder):
    """Weights and losses of a training without interruption, and without `Resume`."""
    learner = made(kind, folder)
    fit(learner)
    return learner.model.state_dict(), torch.stack(list(learner.recorder.losses)), learner.recorder.values


@pytest.mark.parametrize("kind", MAKE)
def test_an_interrupted_epoch_is_trained_again_to_the_same_weights(tmp_path, capsys, kind):
    weights, losses, values = undisturbed(kind, tmp_path)
    batches = len(made(kind, tmp_path).dls.train)
    whole = made(kind, tmp_path)
    fit(whole, ulmfit.Resume(tmp_path / "whole"))
    assert same(weights, whole.model.state_dict()), "writing changes nothing"
    capsys.readouterr()
    for number, (event, at, anew) in enumerate(
        [
            ("after_batch", 2, False),  # in the first epoch, in the same session
            ("after_backward", batches + 3, False),  # with gradients that nobody used yet
            ("before_validate", 2, True),  # another session, another seed
            ("after_backward", 2 * batches + 1, True),
        ]
    ):
        learner, file = made(kind, tmp_path), tmp_path / f"stop-{number}"
        with pytest.raises(KeyboardInterrupt):
            fit(learner, ulmfit.Resume(file), Stop(at, event))
        if anew:
            learner = made(kind, tmp_path, seed=7)
        fit(learner, ulmfit.Resume(file))
        assert f"stop-{number}: going on with epoch" in capsys.readouterr().out
        assert same(weights, learner.model.state_dict()), (event, at)
        assert torch.equal(torch.stack(list(learner.recorder.losses)), losses)
        assert [list(row) for row in learner.recorder.values] == [list(row) for row in values]
        assert learner.train_iter == 3 * batches


def test_a_complete_training_is_read_and_not_repeated(tmp_path, capsys):
    learner = made("classifier", tmp_path)
    fit(learner, ulmfit.Resume(tmp_path / "done"), epochs=1)
    weights = {key: value.clone() for key, value in learner.model.state_dict().items()}
    again = made("classifier", tmp_path, 5)
    fit(again, ulmfit.Resume(tmp_path / "done"), Stop(1), epochs=1)
    assert same(weights, again.model.state_dict())
    assert capsys.readouterr().out == "done: this training is complete, its weights were read\n"
    fit(again, epochs=1)
    assert not same(weights, again.model.state_dict()), "and the learner trains on"


def test_only_training_touches_the_file(tmp_path):
    learner = made("classifier", tmp_path)
    learner.add_cb(ulmfit.Resume(tmp_path / "file"))
    with learner.no_bar(), learner.no_logging():
        learner.validate()
        learner.get_preds()
        learner.lr_find(num_it=6, show_plot=False, suggest_funcs=None)
        assert not (tmp_path / "file").exists()
        learner.fit_one_cycle(1, 1e-2)
        assert (tmp_path / "file").exists()
        learner.validate()
        learner.predict("a b")


@pytest.mark.parametrize(
    ("learner", "options", "message"),
    [
        ({}, {"epochs": 4}, r"file was written by a training with 3 epochs, and this one has 4: repeat that call"),
        ({}, {"rate": 2e-2}, "by a training with other rates: repeat"),
        ({"rows": texts(60)}, {}, "by a training with 10 batches in an epoch, and this one has 12"),
        ({"rows": texts().iloc[::-1]}, {}, "by a training with other texts: repeat"),
        ({"sizes": SMALL | {"n_hid": 16}}, {}, "file does not fit its model: tensor .*: give this training a file"),
        ({"freeze": -1}, {}, "by a training with 3 frozen groups, and this one has 4"),
    ],
)  # fmt: skip
def test_files_of_other_trainings(tmp_path, learner, options, message):
    with pytest.raises(KeyboardInterrupt):
        fit(made("classifier", tmp_path), ulmfit.Resume(tmp_path / "file"), Stop(3))
    other = classifier(tmp_path, **{key: value for key, value in learner.items() if key != "freeze"})
    other.freeze_to(learner.get("freeze", -2))
    with pytest.raises(CourseError, match=message) as caught:
        fit(other, ulmfit.Resume(tmp_path / "file"), **options)
    assert "\n" not in str(caught.value) and "Exception" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"half",
            "file is damaged, and tensors were expected: nothing was executed, delete it to begin anew",
        ),
        (saved({"plan": Hostile()}), r"file asks to call posix\.mkdir, .*nothing was executed"),
        (saved({"model": {}}), "file holds no training: give this one a file of its own"),
        (saved({"plan": {}}), "file was written by a training with other processes: repeat"),
    ],
)
def test_files_that_are_no_training(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CourseError, match=message):
        fit(made("classifier", tmp_path), ulmfit.Resume(tmp_path / "file"))


# ---- kept classifiers

TEXTS = ["a b c", "A Film!!! b<br />c", "words that nobody has read", " ".join(WORDS * 20), "d"]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_kept_classifier_says_what_the_learner_says(tmp_path, backwards):
    learner = classifier(tmp_path, backwards=backwards)
    fit(learner, epochs=1)
    ulmfit.save(learner, tmp_path / "kept")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "classifier.json",
        "model.safetensors",
    ]
    before = torch.get_rng_state()
    kept = ulmfit.load(tmp_path / "kept")
    assert torch.equal(before, torch.get_rng_state())
    assert kept.classes == ["bad", "good"] and isinstance(kept.model, torch.nn.Module)
    for text in TEXTS:
        with learner.no_bar():
            name, _, shares = learner.predict(imdb.plain(text))
        found = kept(text)
        assert list(found) == ["bad", "good"] and abs(sum(found.values()) - 1) < 1e-6
        assert max(found, key=found.get) == name
        assert torch.allclose(torch.tensor(list(found.values())), shares, atol=1e-6), text
    assert (int(kept.ids("a b")[-1]) == kept.ids("a")[-1]) == backwards, "the start mark is read last"


def test_numbers_as_classes_stay_numbers(tmp_path):
    learner = classifier(tmp_path, rows=texts().assign(label=lambda t: (t.label == "good").astype(int)))
    ulmfit.save(learner, tmp_path / "kept")
    assert list(ulmfit.load(tmp_path / "kept")("a")) == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The text is empty, and a text was expected"),
        (" <br /> ", "The text is empty"),
        ("a <b>good</b> film", "The text holds the HTML tag <b>, which would be read as words"),
    ],
)
def test_texts_that_a_kept_classifier_refuses(tmp_path, text, message):
    ulmfit.save(classifier(tmp_path), tmp_path / "kept")
    with pytest.raises(CourseError, match=message):
        ulmfit.load(tmp_path / "kept")(text)


def test_only_what_can_be_read_back_is_kept(tmp_path):
    learner = classifier(tmp_path, tok=BaseTokenizer())
    with pytest.raises(CourseError, match="not cut into tokens by fastai's default tokenizer"):
        ulmfit.save(learner, tmp_path / "kept")
    learner = classifier(tmp_path)
    learner.model[1] = torch.nn.Linear(8, 2)
    with pytest.raises(CourseError, match="The head of this model is a Linear"):
        ulmfit.save(learner, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v | {"vocabulary": v["vocabulary"][1:]}, r"model\.safetensors does not fit its model: tensor 0\."),
        (lambda v: v | {"classes": [0, 1, 2]}, r"does not fit its model: tensor 1\."),
        (lambda v: {key: v[key] for key in v if key != "seq_len"}, r"classifier\.json describes no classifier \('seq"),
        (lambda v: v | {"n_hid": "many"}, r"classifier\.json describes no classifier"),
        (lambda v: [v], r"classifier\.json is not a JSON object"),
    ],
)  # fmt: skip
def test_a_changed_description_is_noticed(tmp_path, change, message):
    ulmfit.save(classifier(tmp_path), tmp_path)
    path = tmp_path / "classifier.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(CourseError, match=message):
        ulmfit.load(tmp_path)


def test_missing_and_damaged_files_of_a_classifier(tmp_path):
    with pytest.raises(CourseError, match=r"classifier\.json cannot be read \(No such file"):
        ulmfit.load(tmp_path)
    ulmfit.save(classifier(tmp_path), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CourseError, match=r"model\.safetensors cannot be read as weights"):
        ulmfit.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CourseError, match=r"model\.safetensors cannot be read as weights"):
        ulmfit.load(tmp_path)


# ---- the whole way on real reviews


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of IMDb is not on this machine")
def test_from_the_published_folder_to_a_kept_classifier(tmp_path, monkeypatch):
    monkeypatch.setitem(ulmfit.MINI, "forward", "awd_lstm")
    some = [r for r in imdb.reviews("train", SAMPLE) if len(r.text) < 500][:6]
    some += [r for r in imdb.reviews("train", SAMPLE)[::-1] if len(r.text) < 500][:6]
    rows = ulmfit.frame(some).assign(valid=[i % 3 == 0 for i in range(12)])
    names = ulmfit.pretrained("forward", tmp_path)
    data = loaders(is_lm=True, rows=rows)
    config = awd_lstm_lm_config | ulmfit.shape("forward")
    learner = language_model_learner(
        data, AWD_LSTM, config=config, pretrained_fnames=names, path=tmp_path, model_dir="."
    )
    fit(learner, epochs=1)
    ulmfit.save_encoder(learner, "encoder")
    target = classifier(
        tmp_path, sizes=ulmfit.shape("forward"), vocabulary=data.vocab, rows=rows, drop_mult=0.3
    )
    ulmfit.load_encoder(target, "encoder")
    fit(target, epochs=1)
    ulmfit.save(target, Path(tmp_path / "kept"))
    assert list(ulmfit.load(tmp_path / "kept")("A good film.")) == [0, 1]
