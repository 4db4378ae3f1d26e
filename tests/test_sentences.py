"""SST-2 and TREC-6: the published form, and what the shared harness makes of a BERT."""

import pytest
import torch

from utils import adaptation, minilm, sentences, training
from utils.classification import Classifier, fine_tune, predict_logits
from utils.errors import CourseError
from utils.world.tasks import Labeled


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of COURSE_DATA to put files into."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))

    def put(name, content):
        path = tmp_path / "sentence_classification" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    return put


def test_sst2(data, capsys):
    data("stsa.binary.dev", "1 a gem .\n0 crème brûlée , not fresh\n".encode())
    assert sentences.sst2("dev") == [
        Labeled(("a", "gem", "."), 1),
        Labeled(("crème", "brûlée", ",", "not", "fresh"), 0),
    ]
    assert "which is not the published file" in capsys.readouterr().out


def test_trec_is_read_in_latin_1_as_published_and_in_utf_8(data):
    for encoding in ("latin-1", "utf-8"):
        data("TREC.train.all", "4 What is the sister\xf0city of Rome ?\n5 How far ?\n".encode(encoding))
        first, second = sentences.trec("train")
        assert first.words[2:4] == ("the", "sister\xf0city") and second.label == 5


@pytest.mark.parametrize("line", [b"2 two", b"-1 x", b"good film", b"1", b"", b"1.0 x"])
def test_other_lines_are_refused(data, line):
    data("stsa.binary.test", b"1 fine\n" + line + b"\n0 poor\n")
    with pytest.raises(
        CourseError, match=r"stsa\.binary\.test, line 2: expected a label from 0 to 1 and a sentence"
    ):
        sentences.sst2("test")


def test_unknown_split():
    with pytest.raises(CourseError, match="'dev' is not a split of this data: choose one of train, test"):
        sentences.trec("dev")


# ---- the harness and a BERT


def test_marks_and_pieces_are_berts():
    model, pieces = minilm.load()
    texts = ["Who painted it ?", "a film"]
    ids = training.encode(pieces, texts)
    assert ids == pieces(texts)["input_ids"], "[CLS], lower-case pieces, [SEP]"
    batch = training.pad(ids, max(map(len, ids)), pieces.pad_token_id)
    classifier = Classifier(model, pieces, 2).eval()
    with torch.no_grad():
        states = model(**pieces(texts, padding=True, return_tensors="pt")).last_hidden_state
        want = torch.cat([states[1, :4].mean(0), states[1, 3]])
        assert torch.allclose(classifier(batch)[1], classifier.head(want), atol=1e-4)


@pytest.mark.parametrize("method", ["head", "bias", "adapters", "full"])
def test_methods_fit_a_bert(method):
    """Adapters change nothing before training; afterwards only what should has moved."""
    model, pieces = minilm.load()
    torch.manual_seed(0)
    classifier = Classifier(model, pieces, 2).eval()
    texts, labels = ["a gem .", "a bore .", "fine film", "poor film"], [1, 0, 1, 0]
    before = predict_logits(classifier, texts)
    if method == "adapters":
        adaptation.add_adapters(classifier.encoder, 4)
        assert (predict_logits(classifier, texts) == before).all()
        adaptation.train_only(classifier, "head.*", "*adapter*")
        assert sum("adapter.down.weight" in name for name, _ in classifier.named_parameters()) == 2 * 6
    elif method != "full":
        adaptation.train_only(classifier, "head.*", *(["*bias"] if method == "bias" else []))
    start = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    fine_tune(classifier, texts, labels, 2, 1e-2, 0, rows=4)
    for name, p in classifier.named_parameters():
        assert p.requires_grad or torch.equal(p, start[name]), name
    moved = {name for name, p in classifier.named_parameters() if not torch.equal(p, start[name])}
    assert {"head.weight", "head.bias"} <= moved and (method == "head") == (len(moved) == 2)
    layers = adaptation.layer_patterns(classifier)
    assert len(layers) == 1 + 6 + 1 and any("pooler" in pattern for pattern in layers[1])
