"""Readers of labels, batches by length, the training of a tagger, and states at chosen pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils import minilm, tagging, treebank
from utils.errors import CourseError
from utils.tagging import IGNORED, Tagged
from utils.world import World

FILE = "\nann\tB-person\nlee\tI-person\nleft\tO\n\nhi\tO\n\t\nbye\tO\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "names.conll"


def test_sentences_of_a_file(path):
    path.write_text(FILE, "utf-8")
    assert tagging.read_names(path) == (
        Tagged(("ann", "lee", "left"), ("B-person", "I-person", "O")),
        Tagged(("hi",), ("O",)),
        Tagged(("bye",), ("O",)),
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [("ann", "'ann'"), ("ann O", "'ann O'"), ("ann\tX-person", "X-person"), ("ann\tB-", "B-"), ("\tO", "O")],
)
def test_a_wrong_line_is_named(path, line, found):
    path.write_text(f"hi\tO\n{line}\n", "utf-8")
    with pytest.raises(CourseError, match=f"line 2: expected a word, a tab, .*{found}"):
        tagging.read_names(path)


def test_words_and_labels_stay_together():
    with pytest.raises(CourseError, match="2 words has 1 labels"):
        Tagged(("ann", "left"), ("O",))
    with pytest.raises(CourseError, match="0 words"):
        Tagged((), ())


def test_unknown_split():
    with pytest.raises(
        CourseError, match="'validation' is not a split of WNUT-17: choose one of train, dev, test"
    ):
        tagging.wnut("validation")


def test_wnut_comes_from_the_readers_data(tmp_path, monkeypatch, capsys):
    (tmp_path / "wnut17").mkdir()
    (tmp_path / "wnut17" / "emerging.dev.conll").write_text(FILE, "utf-8")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert [len(sentence.words) for sentence in tagging.wnut("dev")] == [3, 1, 1]
    assert "not the published file" in capsys.readouterr().out


def test_parts_of_speech_of_the_treebank():
    sentences = treebank.english("test")
    found = tagging.parts_of_speech(sentences)
    assert [s.words for s in found] == [s.words for s in sentences]
    assert {tag for s in found for tag in s.tags} <= treebank.TAGS


def test_names_of_the_world():
    found = tagging.world_names(World(0), 100, "test")
    assert len(found) == 100 and found == tagging.world_names(World(0), 100, "test")
    assert all(any(tag != "O" for tag in s.tags) for s in found)
    for s in found:
        for before, tag in zip(("O", *s.tags), s.tags, strict=False):
            assert tag[0] != "I" or before == f"B-{tag[2:]}"
    kinds = {tag for s in found for tag in s.tags}
    assert kinds == {"O", "B-person", "I-person", "B-place", "B-product"}


@given(st.lists(st.integers(1, 60), min_size=1, max_size=700), st.integers(1, 40))
def test_batches_hold_every_sentence_once(lengths, size):
    found = tagging.batches(lengths, size, np.random.default_rng(0))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    assert max(map(len, found)) <= size


def test_batches_pad_little():
    lengths = np.random.default_rng(0).integers(3, 60, 640)
    found = tagging.batches(lengths, 16, np.random.default_rng(1))
    padded = sum(len(batch) * max(lengths[batch]) for batch in found)
    assert padded < 1.1 * lengths.sum()


class Small(torch.nn.Module):
    """Scores of a piece from its id alone, and the masks that were seen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(30, 3)
        self.masks = []

    def forward(self, ids, mask):
        self.masks.append((ids, mask))
        return self.table(ids)


def test_a_tagger_learns_what_is_labeled_and_nothing_else():
    ids, labels = [[1, 2, 9], [2, 1, 1, 9]] * 8, [[0, 1, IGNORED], [1, 0, 0, IGNORED]] * 8
    model = Small()
    before = model.table.weight.detach().clone()
    tagging.tune(model, ids, labels, rate=0.1, epochs=100, seed=0)
    assert [row.argmax(1).tolist()[:2] for row in tagging.scored(model, ids)[:2]] == [[0, 1], [1, 0]]
    assert all(((row != 0).long() == mask).all() for row, mask in model.masks)
    moved = (model.table.weight - before).abs().max(1).values
    assert moved[[1, 2]].min() > 1
    assert moved[9] < 0.1  # weight decay alone


def test_scores_keep_their_order_and_length():
    ids = [[1] * n for n in (5, 2, 9, 1)]
    assert [len(row) for row in tagging.scored(Small(), ids, size=2)] == [5, 2, 9, 1]


def test_states_at_places_do_not_depend_on_the_neighbors():
    encoder, tokenizer = minilm.load()
    ids = [
        tokenizer(text)["input_ids"] for text in ("the keys are here .", "snowboarders love fondue", "yes")
    ]
    places = [[1, 2], [1, 4], [1]]
    together = tagging.states(encoder, ids, places)
    assert together.shape == (5, minilm.LAYERS + 1, minilm.WIDTH) and together.dtype == torch.float16
    alone = torch.cat(
        [tagging.states(encoder, [row], [place]) for row, place in zip(ids, places, strict=True)]
    )
    torch.testing.assert_close(together, alone, atol=5e-3, rtol=5e-3)
    with torch.no_grad():
        last = encoder(torch.tensor(ids[:1])).last_hidden_state[0, [1, 2]]
    torch.testing.assert_close(together[:2, -1].float(), last, atol=5e-3, rtol=5e-3)
