"""The published GPTs from files of their names and shapes; the recipe of TransferTransfo, alone and shared by two."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import OpenAIGPTConfig, OpenAIGPTModel

from tests import small_gpt
from utils import convai, convai_gpt, dialogue
from utils.convai_gpt import Settings, train
from utils.errors import CourseError
from utils.world import World, tasks

# ---- published models


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Folders with the files of both models, small ones, as COURSE_DATA; the masks of old versions are in them."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    for name in small_gpt.TOKENS:
        kind, _ = dialogue.PUBLISHED[name]
        monkeypatch.setitem(dialogue.PUBLISHED, name, (kind, small_gpt.SMALL))
        folder = tmp_path / name
        folder.mkdir()
        for file, content in small_gpt.files(name).items():
            (folder / file).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("name", small_gpt.TOKENS)
def test_published_weights_and_new_tokens(files, name):
    state = torch.get_rng_state()
    model, tokenizer = dialogue.published(name, seed=1)
    assert torch.equal(state, torch.get_rng_state()) and not model.training
    marks = dialogue.Marks.of(tokenizer)
    assert max(vars(marks).values()) == len(tokenizer) - 1 == model.config.vocab_size - 1
    given = load_file(files / name / "model.safetensors")
    own = model.base_model.state_dict()
    compared = [key for key in given if not key.endswith(".attn.bias") and given[key].shape == own[key].shape]
    assert len(compared) == len(own) - 1 and all(torch.equal(given[key], own[key]) for key in compared)
    table = next(key for key in own if key not in compared)
    assert torch.equal(own[table][:7], given[table])
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ids = dialogue.text_ids(tokenizer, ["ab a ."])[0]
    assert "".join(tokenizer.decode(ids).split()) == "aba." and len(ids) <= 5
    again, _ = dialogue.published(name, seed=1)
    other, _ = dialogue.published(name, seed=2)
    head = "multiple_choice_head.summary.weight"
    assert torch.equal(again.state_dict()[head], model.state_dict()[head])
    assert not torch.equal(other.state_dict()[head], model.state_dict()[head])
    chats = [convai.Chat(("a b",), (convai.Turn(("ab",), ("b", "a")),))]
    nats, _, scores = dialogue.heads(model, next(dialogue.batches(dialogue.Chats(chats, tokenizer), 1)))
    assert len(nats) == 2 and scores.shape == (1, 2)


def test_random_weights_of_the_same_shape(files):
    (files / "gpt2" / "model.safetensors").unlink()
    model, _ = dialogue.published("gpt2", seed=1, random_init=True)
    again, _ = dialogue.published("gpt2", seed=1, random_init=True)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert model.config.n_embd == 8


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.json", "{", "line 1, column 2: this is not JSON"),
        ("vocab.json", "[]", "not the vocabulary and the merges of one tokenizer"),
        ("vocab.json", '{"a": 0}', "not the vocabulary and the merges of one tokenizer"),
        (
            "vocab.json",
            '{"a": 0, "b</w>": 1, "ab</w>": 2}',
            "The vocabulary of openai-gpt has 4 tokens, and its model 7",
        ),
        ("merges.txt", "#version: 0.2\nx y\n", "not the vocabulary and the merges of one tokenizer"),
        ("model.safetensors", "half a download", "cannot be read as weights"),
    ],
)
def test_files_that_are_no_model(files, file, content, message):
    (files / "openai-gpt" / file).write_text(content)
    with pytest.raises(CourseError, match=message):
        dialogue.published("openai-gpt")


def test_another_shape_is_refused(files):
    path = files / "openai-gpt" / "model.safetensors"
    save_file(load_file(path) | {"h.1.mlp.c_fc.bias": torch.zeros(3)}, path)
    with pytest.raises(CourseError, match=r"tensor h\.1\.mlp\.c_fc\.bias is of shape \[3\] in the file"):
        dialogue.published("openai-gpt")
    with pytest.raises(
        CourseError, match="'gpt3' is not a published model of this lab: choose one of openai-gpt"
    ):
        dialogue.published("gpt3")


def test_true_shapes():
    """Those of OpenAI's own list of arrays (openai/finetune-transformer-lm): 2 tables, and 12 layers of 12 arrays."""
    with torch.device("meta"):
        body = OpenAIGPTModel(OpenAIGPTConfig())
    sizes = [tuple(value.shape) for value in body.state_dict().values()]
    layer = [
        (768, 2304),
        (2304,),
        (768, 768),
        (768,),
        (768,),
        (768,),
        (768, 3072),
        (3072,),
        (3072, 768),
        *[(768,)] * 3,
    ]
    assert sizes == [(40478, 768), (512, 768), *layer * 12]


# ---- the recipe

QUICK = {
    "model": "course", "rows": 4, "chats": 6, "test_chats": 2, "replies": 3, "turns": 1, "candidates": 2, "rate": 1e-3,
    "permutations": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with chats of the course world as a sample of ConvAI2."""
    folder = tmp_path_factory.mktemp("data")
    chats = convai.parse(tasks.dialogue(World(0), 10, candidates=4))
    convai.write({"train": chats[:7], "valid": chats[7:]}, folder / "personachat_self_original.small.json")
    return folder


def test_killed_training_ends_as_if_nothing_had_happened(data, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(data))
    settings = Settings(**QUICK | {"discard": True})
    whole = train(tmp_path / "whole", settings)
    kept = dialogue.pretrain

    def killed(model, stream, loss, steps, peak, warmup, decay, resume):
        def watch(step, value):
            if step == 3:
                raise KeyboardInterrupt

        return kept(model, stream, loss, steps, peak, warmup, decay, resume, 2, watch)

    monkeypatch.setattr(dialogue, "pretrain", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", settings)
    assert (tmp_path / "killed" / "state.pt").exists() and not (tmp_path / "killed" / "result.json").exists()
    monkeypatch.setattr(dialogue, "pretrain", kept)
    assert train(tmp_path / "killed", settings) == whole
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["result.json", "settings.json"]
    monkeypatch.setattr(dialogue, "pretrain", None)
    assert train(tmp_path / "killed", settings) == whole, "only reads the result"
    with pytest.raises(
        CourseError, match="killed holds a training with seed=0, and now seed=1 was asked for"
    ):
        train(tmp_path / "killed", Settings(**QUICK | {"discard": True, "seed": 1}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "gpt3"}, "'gpt3' is not a model: choose one of openai-gpt, gpt2, course"),
        ({"rows": 0}, "0 rows cannot be shared by 1 processes"),
        ({"candidates": 1}, "a choice needs two candidates"),
        ({"turns": 2}, "2 turns of history do not begin and end with the partner"),
    ],
)
def test_wrong_settings(data, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setenv("COURSE_DATA", str(data))
    with pytest.raises(CourseError, match=message):
        train(tmp_path, Settings(**QUICK | options))
    words = [
        word
        for name, value in (QUICK | options).items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    with pytest.raises(SystemExit) as end:
        convai_gpt.main(["--output", str(tmp_path), *words])
    assert end.value.code == 1 and capsys.readouterr().err.count("\n") == 1
