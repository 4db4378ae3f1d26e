"""Two processes train what one trains, loss for loss, with accelerate, fastai and TensorFlow."""

import json
import sys
from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from benchmarks import processes
from utils import convai, dialogue, ulmfit
from utils.checkpoints import load_causal
from utils.distributed import Rows
from utils.errors import CourseError
from utils.settings import root
from utils.world import World, tasks

LOSSES, WEIGHTS = 1e-5, 2e-2  # nats; share of the largest change of a weight
PAD = 1  # fastai's number of xxpad; as a label of a class it says as much when it is left out


# ---- the processes


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """All trainings at a small size: by this process, and by two of their own."""
    folder = tmp_path_factory.mktemp("processes")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = {}
    for name in processes.TORCH | processes.TENSORFLOW:
        alone[name] = processes.TRAININGS[name](processes.size_of(name, small=True), folder)
    torch.set_num_threads(threads)
    names = [name for name in processes.TRAININGS if name not in processes.TENSORFLOW]
    both = processes.run(names, 2, folder / "torch", small=True)
    tensorflow = processes.run(list(processes.TENSORFLOW), 2, folder / "tensorflow", small=True)
    return processes.summary(alone, [one | other for one, other in zip(both, tensorflow, strict=True)])


def same(row):
    return row["loss_difference"] < LOSSES and row["weight_difference"] < WEIGHTS * row["weight_change"]


@pytest.mark.parametrize("name", [*processes.TORCH, *processes.TENSORFLOW])
def test_two_processes_do_what_one_does(result, name):
    row = result["trainings"][name]
    assert row["updates"] >= 4 and row["weight_change"] > 1e-3
    assert row["between_processes"] == 0
    assert same(row), row
    one, two = row["measures"]
    assert two == pytest.approx(one, rel=1e-4), "scored by all, each text once"


@pytest.mark.parametrize("name", processes.RESUMED)
def test_interrupted_processes_go_on_to_the_same_end(result, name):
    row = result["resumed"][name]
    assert row["between_processes"] == 0 and same(row), row


@pytest.mark.parametrize("name", processes.CARELESS)
def test_the_comparison_notices_a_wrong_mean(result, name):
    row = result["careless"][name]
    assert row["loss_difference"] > 10 * LOSSES and not same(row), row


def test_what_the_page_says_of_accelerate(result):
    """A schedule handed to it makes a step for each process; `gather` counts texts twice that fill up a last batch."""
    assert result["accelerate"] == {"updates": 10, "steps": 20, "texts": 7, "gathered": 8, "counted": 7}


def test_a_process_that_fails_ends_the_others(tmp_path):
    codes = ("raise SystemExit('broken')", "import time; time.sleep(60)")
    commands = [([sys.executable, "-c", code], {}) for code in codes]
    with pytest.raises(RuntimeError, match=r"ended with \[1, None\].*\n.*broken"):
        processes.wait_for(commands, tmp_path)


def test_the_recorded_result():
    folder = root() / "benchmarks"
    result = json.loads((folder / "processes.json").read_text("utf-8"))
    assert processes.table(result) == (folder / "processes.md").read_text("utf-8")
    for name, row in (result["trainings"] | result["resumed"]).items():
        assert same(row) and row["between_processes"] == 0, name
    assert all(not same(row) for row in result["careless"].values())


def test_numbers_of_the_table():
    shown = [processes.scientific(value) for value in (0, 1.234e-7, 0.05, 2.5)]
    assert shown == ["0", "1.2 × 10⁻⁷", "0.05", "2.5"]


# ---- how batches are shared


@pytest.mark.parametrize("count", [1, 2, 3])
def test_turns_are_shared_without_loss_and_without_repetition(count):
    """Also those of a last batch with fewer turns than processes, where a batch that does not count stands in."""
    model, tokenizer = load_causal()
    dialogue.add_tokens(tokenizer, model)
    chats = convai.parse(tasks.dialogue(World(0), 2, candidates=2))
    data = dialogue.Chats(chats, tokenizer, candidates=2, turns=1)
    size = next(size for size in (4, 5, 3) if len(data) % size in (1, 2))
    whole = list(dialogue.batches(data, size, seed=3))
    parts = list(dialogue.shares(data, size, count, seed=3))
    assert len(parts) == count * len(whole)
    for batch, at in zip(whole, range(0, len(parts), count), strict=True):
        some = [part for part in parts[at : at + count] if part.counts]
        rows = [_texts(part) for part in some]
        assert sorted(chain(*rows)) == sorted(_texts(batch))
        assert all(0 <= len(a) - len(b) <= 1 for a, b in pairwise(rows))
    assert all(part.counts for part in parts[: -count + 1 or None])
    assert parts[-1].counts == (len(whole[-1]["ids"]) >= count)


def _texts(batch):
    """The labels of each turn, without padding."""
    return [[n for n in turn[-1].tolist() if n != dialogue.SKIP] for turn in batch["labels"]]


@pytest.mark.parametrize("is_lm", [True, False])
def test_rows_of_fastais_batches_are_shared(is_lm):
    from fastai.text.all import set_seed

    size = processes.SMALL["language model"]

    def batches(process=None):
        set_seed(5)
        loader = processes.fastai_loaders(size, is_lm).train
        return list(loader if process is None else Rows(loader, process, 2))

    whole, first, second = batches(), batches(0), batches(1)
    assert len(whole) == len(first) == len(second) > 2
    for batch, *halves in zip(whole, first, second, strict=True):
        for process, half in enumerate(halves):
            for wanted, given in zip(batch, half, strict=True):
                assert _rows(given) == _rows(wanted)[process::2]


def _rows(tensor):
    """The rows of a tensor, without the padding of texts, which depends on the longest one of a batch."""
    return [[n for n in row if n != PAD] for row in tensor.view(len(tensor), -1).tolist()]


def test_rows_that_cannot_be_shared_evenly(monkeypatch, tmp_path):
    from fastai.text.all import AWD_LSTM, awd_lstm_lm_config, language_model_learner

    size = processes.SMALL["language model"] | {"rows": 3}
    config = awd_lstm_lm_config | {"emb_sz": 4, "n_hid": 4}
    loaders = processes.fastai_loaders(size, is_lm=True)
    learner = language_model_learner(loaders, AWD_LSTM, config=config, pretrained=False, path=tmp_path)
    with ulmfit.distributed(learner) as alone:
        assert alone is learner and alone.dls.train is loaders.train
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = "^Batches of 3 rows cannot be shared evenly by 2 processes: use batches of a multiple of 2 rows"
    with pytest.raises(CourseError, match=message), ulmfit.distributed(learner):
        pass


# ---- TensorFlow's machines


@pytest.mark.parametrize("text", ["{", '{"cluster": 3}', '{"cluster": {"worker": 3}}'])
def test_a_wrong_tf_config(monkeypatch, text):
    from utils import span_tf

    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(
        CourseError, match=r"^TF_CONFIG='.*' is not understood: give the addresses of all workers"
    ):
        span_tf.strategy()


def test_too_late_for_other_machines(monkeypatch):
    from utils import span_tf

    worker = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(worker))
    span_tf.tf.constant(np.zeros(1)) + 1
    with pytest.raises(
        CourseError, match=r"^TensorFlow has computed something already, .* right after the imports"
    ):
        span_tf.strategy()
