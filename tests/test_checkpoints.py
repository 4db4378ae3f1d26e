"""Checkpoints: what is saved comes back, and what does not fit is named."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from utils import checkpoints
from utils.checkpoints import load_causal, load_into, load_masked, load_state, load_tokenizer, recipe, save
from utils.errors import CourseError

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]


def causal(width=8):
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=width, n_head=2, vocab_size=12, n_positions=16, bos_token_id=2, eos_token_id=3
    )
    return GPT2LMHeadModel(config).eval()


def masked():
    torch.manual_seed(1)
    config = BertConfig(
        num_hidden_layers=1,
        hidden_size=8,
        num_attention_heads=2,
        vocab_size=12,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    return BertForMaskedLM(config).eval()


@pytest.fixture
def folder(tmp_path):
    vocabulary = {
        token: i for i, token in enumerate([*SPECIAL, "the", "soup", "was", "good", "bad", "sadly", ","])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    save("causal", causal(), causal().config, {"seed": 0}, tmp_path)
    save("masked", masked(), masked().config, {"seed": 1}, tmp_path)
    save("awd_lstm", torch.nn.LSTM(4, 4).state_dict(), {"width": 4}, {"seed": 2}, tmp_path)
    return tmp_path


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def outputs(model):
    with torch.no_grad():
        return model(torch.arange(12)[None]).logits


@pytest.mark.parametrize(("load", "make"), [(load_causal, causal), (load_masked, masked)])
def test_models_come_back(folder, load, make):
    model, tokenizer = load(folder)
    assert not model.training and all(p.dtype == torch.float32 for p in model.parameters())
    assert torch.allclose(outputs(model), outputs(make()), atol=2e-3)
    assert type(model) is type(make())
    assert tokenizer("sadly , the soup")["input_ids"][:4] == [10, 11, 5, 6]


def test_tied_weights_stay_tied(folder):
    path = folder / "causal" / "model.safetensors"
    assert b"lm_head" not in path.read_bytes()
    model, _ = load_causal(folder)
    assert model.lm_head.weight is model.transformer.wte.weight
    model, _ = load_masked(folder)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_special_tokens_have_their_roles(folder):
    tokenizer = load_tokenizer(folder)
    ids = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert ids == (0, 1, 2, 3) and tokenizer.mask_token == "<mask>"
    batch = tokenizer(["the soup", "the soup was good"], padding=True)
    assert batch["attention_mask"] == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert tokenizer.decode([2, 5, 6, 3], skip_special_tokens=True) == "the soup"


def test_saving_is_deterministic_and_recorded(folder, tmp_path):
    path = folder / "causal" / "model.safetensors"
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert set(before) == {"model.safetensors", "config.json", "recipe.json"}
    save("causal", causal(), causal().config, {"seed": 0}, folder)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    values = recipe("causal", folder)
    assert values["seed"] == 0 and values["bytes"] == path.stat().st_size < 20_000
    assert len(values["sha256"]) == len(values["tokenizer_sha256"]) == 64
    assert json.loads(before["config.json"])["architectures"] == ["GPT2LMHeadModel"]


def test_loading_leaves_random_numbers_alone(folder):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_causal(folder)
    assert torch.rand(1) == expected


def test_raw_state(folder):
    state = load_state("awd_lstm", folder)
    assert state["weight_ih_l0"].shape == (16, 4) and state["weight_ih_l0"].dtype == torch.float32
    lstm = torch.nn.LSTM(4, 4)
    load_into(lstm, "awd_lstm", folder)
    assert torch.equal(lstm.weight_hh_l0, state["weight_hh_l0"])


def test_integers_keep_their_type(folder):
    save("counts", {"n": torch.tensor([3, 70_000])}, {}, {}, folder)
    assert load_state("counts", folder)["n"].tolist() == [3, 70_000]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"n_embd": 12, "n_head": 3},
            r"tensor transformer.h.0.attn.c_attn.bias is of shape \[24\] in the file and of shape \[36\] in the model",
        ),
        (
            {"n_layer": 3},
            r"tensor transformer.h.2.attn.c_attn.bias is missing in the file and of shape \[24\]",
        ),
        (
            {"n_layer": 1},
            r"tensor transformer.h.1.attn.c_attn.bias is of shape \[24\] in the file and missing",
        ),
        ({"n_head": 3}, "describes no GPT2LMHeadModel"),
        ({"n_embd": "wide"}, "describes no GPT2LMHeadModel"),
        ({"architectures": ["GPT9"]}, "architecture 'GPT9'"),
        ({"architectures": None}, "architecture 'none'"),
    ],
)
def test_config_that_does_not_fit(folder, changes, message):
    edit(folder / "causal" / "config.json", **changes)
    with pytest.raises(CourseError, match=message) as error:
        load_causal(folder)
    assert "run `git checkout checkpoints/causal`, or make it anew with `make checkpoints`" in str(
        error.value
    )
    assert "\n" not in str(error.value)


def test_changed_weights_are_refused(folder):
    path = folder / "causal" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        CourseError, match="causal/model.safetensors is not what .*expected SHA-256 .* and found"
    ):
        load_causal(folder)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CourseError, match="is not what"):
        load_causal(folder)
    path.unlink()
    with pytest.raises(CourseError, match="found no such file: run `git checkout"):
        load_causal(folder)


def test_changed_tokenizer_is_refused(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(CourseError, match="tokenizer.json is not what causal/recipe.json names"):
        load_causal(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": "a"}'])
def test_broken_recipe(folder, text):
    (folder / "causal" / "recipe.json").write_text(text)
    with pytest.raises(CourseError, match=r"causal/recipe.json .*: run `git checkout checkpoints/causal`"):
        recipe("causal", folder)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"added_tokens": [], "model": 3}'])
def test_broken_tokenizer(folder, text):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(CourseError, match="tokenizer.json is not a tokenizer"):
        load_tokenizer(folder)


def test_a_tokenizer_on_which_the_library_would_abort(folder):
    """With a prefix of inner pieces it cuts off their first byte, even where a letter has two."""
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text("utf-8"))
    values["model"]["continuing_subword_prefix"] = "#"
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(CourseError, match="tokenizer.json is not a tokenizer .it has a prefix"):
        load_tokenizer(folder)


def test_missing_checkpoint(folder):
    with pytest.raises(CourseError, match="other/recipe.json cannot be used .*make checkpoints"):
        load_state("other", folder)


def test_save_refuses_what_cannot_be_kept(folder, monkeypatch):
    before = (folder / "causal" / "recipe.json").read_bytes()
    with pytest.raises(CourseError, match="w has values that float16 cannot hold"):
        save("causal", {"w": torch.tensor([1.0, 1e6])}, {}, {}, folder)
    monkeypatch.setattr(checkpoints, "LIMIT", 1000)
    with pytest.raises(CourseError, match="at most 1000 are allowed"):
        save("causal", {"w": torch.ones(1000)}, {}, {}, folder)
    assert (folder / "causal" / "recipe.json").read_bytes() == before
