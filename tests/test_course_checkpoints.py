"""The checkpoints that the course ships: their size and hashes, and that they are as good as their recipes say."""

import json
import math
import shutil

import pytest
import torch

from tools import make_checkpoints
from tools.make_checkpoints import HELD_OUT, one_token
from utils import checkpoints, lstm, training
from utils.downloads import sha256
from utils.errors import CourseError
from utils.ngram import KneserNey
from utils.world import World, lexicon, tasks

RECURRENT = list(make_checkpoints.RECURRENT)
NAMES = ["causal", "masked", *RECURRENT]
SLICE = 20_000  # words of held-out text
GAP = 0.12  # bits a word above the exact entropy, at most
TRANSFORMERS = {
    "causal": (checkpoints.load_causal, training.preferred),
    "masked": (checkpoints.load_masked, make_checkpoints.agreement_masked),
}
shipped = pytest.mark.parametrize("name", NAMES)
transformers = pytest.mark.parametrize("name", TRANSFORMERS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world():
    return World(0)


@pytest.fixture(scope="module")
def documents(world):
    return world.corpus(SLICE, HELD_OUT)


def words(documents):
    return sum(len(d.words) + 1 for d in documents)


@pytest.fixture(scope="module")
def exact(documents):
    """Bits per word that the world itself needs."""
    return sum(d.bits for d in documents) / words(documents)


@pytest.fixture(scope="module")
def counted(world, documents):
    """Bits per word of a 5-gram model of 300,000 words."""
    model = KneserNey(5).fit(d.words for d in world.corpus(300_000))
    return sum(sum(model.bits(d.words)) for d in documents) / words(documents)


@pytest.fixture(scope="module")
def loaded():
    """Both Transformers with their tokenizer, each read once."""
    kept = {}

    def load(name):
        if name not in kept:
            kept[name] = TRANSFORMERS[name][0]()
        return kept[name]

    return load


@pytest.fixture(scope="module")
def causal_bits(loaded, documents):
    model, tokenizer = loaded("causal")
    bits = training.token_bits(model, tokenizer, [d.text for d in documents])
    return sum(map(sum, bits)) / words(documents)


def untrained(shape):
    """A fastai AWD-LSTM of this shape, with random weights, in evaluation mode."""
    return lstm.learner([shape["vocabulary"]] * 4, shape["vocabulary"], shape).model.eval()


def lstm_bits(name, documents):
    """Bits per word of an AWD-LSTM, text by text; the start mark of a next text is the end of each."""
    shape, step = checkpoints.config(name), make_checkpoints.RECURRENT[name]["step"]
    model = untrained(shape)
    checkpoints.load_into(model, name)
    index = {word: i for i, word in enumerate(shape["vocabulary"])}
    start, padding = index["xxbos"], index["xxpad"]
    total = 0.0
    ordered = sorted((d.words for d in documents), key=len)
    for i in range(0, len(ordered), 64):
        rows = [[start, *(index[word] for word in text[::step]), start] for text in ordered[i : i + 64]]
        batch = training.pad(rows, max(map(len, rows)), padding)
        model[0].bs = len(rows)
        model.reset()
        with torch.no_grad():
            logits = model(batch[:, :-1])[0]
        total += torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), batch[:, 1:], ignore_index=padding, reduction="sum"
        ).item()
    return total / math.log(2) / words(documents)


# ---- files


@shipped
def test_size_and_hashes(name):
    folder, recipe = checkpoints.FOLDER / name, checkpoints.recipe(name)
    weights = folder / "model.safetensors"
    assert weights.stat().st_size == recipe["bytes"] <= 8_000_000
    assert sha256(weights) == recipe["sha256"]
    assert recipe.get("tokenizer_sha256") == sha256(checkpoints.FOLDER / "tokenizer.json")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "recipe.json",
    ]
    assert recipe["made_by"] == "tools/make_checkpoints.py" and recipe["seed"] == make_checkpoints.SEED
    assert recipe["minutes"] > 0


def test_size_of_all():
    files = [path for name in NAMES for path in (checkpoints.FOLDER / name).iterdir()]
    assert len(files) == 3 * len(NAMES)
    assert sum(path.stat().st_size for path in [*files, checkpoints.FOLDER / "tokenizer.json"]) <= 25_000_000


@shipped
def test_weights_are_half_precision(name):
    from safetensors import safe_open

    with safe_open(checkpoints.FOLDER / name / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}
    assert all(value.dtype == torch.float32 for value in checkpoints.load_state(name).values())


# ---- how good they are


def gap(recipe):
    return recipe["held_out_bits_per_word"] - recipe["exact_bits_per_word"]


def test_exact_entropy_is_that_of_the_world(world):
    documents = make_checkpoints.held_out(world)
    bits = sum(d.bits for d in documents) / words(documents)
    for name in ("causal", *RECURRENT):
        assert checkpoints.recipe(name)["exact_bits_per_word"] == pytest.approx(bits, abs=1e-4), name


def test_causal_model_is_near_the_exact_entropy(causal_bits, exact):
    recorded = gap(checkpoints.recipe("causal"))
    assert 0 < recorded <= GAP
    assert 0 < causal_bits - exact <= GAP
    # the slice is harder than the whole text, so what is reproduced is the distance to the entropy of each
    assert causal_bits - exact == pytest.approx(recorded, abs=0.05)


@pytest.mark.parametrize("name", RECURRENT)
def test_lstm_is_as_good_as_recorded(name, documents, exact):
    recorded = gap(checkpoints.recipe(name))
    assert recorded > 0
    assert lstm_bits(name, documents) - exact == pytest.approx(recorded, abs=0.05)


@pytest.mark.parametrize(("name", "step"), [("ulmfit_forward", 1), ("ulmfit_backward", -1)])
def test_the_pair_knows_cues(name, step, world):
    model, vocabulary = lstm.load(name)
    pairs = tasks.polarity_cues(world, 200, "cues of a test")
    share = lstm.preferred(model, vocabulary, pairs, step)
    recorded = checkpoints.recipe(name)["behavior"]["polarity cues"]
    assert recorded > 0.85
    assert share == pytest.approx(recorded, abs=0.06)


def test_vectors_of_documents_separate_praise_from_blame(world):
    documents = world.corpus(450_000, "vectors of a test")
    vocabulary = ["xxpad", *sorted({word for d in documents for word in d.words})]
    vectors = make_checkpoints.document_vectors(documents, vocabulary, 160)
    assert vectors.shape == (len(vocabulary), 160) and vectors[0].abs().max() < 1e-6
    unit = torch.nn.functional.normalize(vectors, dim=1)
    praise, blame = (
        unit[[vocabulary.index(word) for word in words["A"].split()]]
        for words in (lexicon.POSITIVE, lexicon.NEGATIVE)
    )
    alike = [
        (side @ side.T).fill_diagonal_(0).sum() / (len(side) * (len(side) - 1)) for side in (praise, blame)
    ]
    assert min(alike) > (praise @ blame.T).mean()


def test_masked_model_is_as_good_as_recorded(loaded, world):
    recipe = checkpoints.recipe("masked")
    model, tokenizer = loaded("masked")
    generator = torch.Generator().manual_seed(1)
    right, nats = [], []
    for batch in training.batches([d.text for d in world.corpus(30_000, HELD_OUT)], tokenizer):
        corrupted, chosen = training.mask_tokens(
            batch, 0.15, tokenizer.mask_token_id, 5, len(tokenizer), generator
        )
        with torch.no_grad():
            logits = model(corrupted, attention_mask=(batch != tokenizer.pad_token_id).long()).logits[chosen]
        right.append((logits.argmax(-1) == batch[chosen]).float())
        nats.append(torch.nn.functional.cross_entropy(logits, batch[chosen], reduction="none"))
    assert torch.cat(right).mean().item() == pytest.approx(recipe["held_out_masked_accuracy"], abs=0.02)
    bits = torch.cat(nats).mean().item() / math.log(2)
    assert bits == pytest.approx(recipe["held_out_masked_bits"], abs=0.15)


def test_causal_model_beats_the_5_gram(causal_bits, counted):
    assert causal_bits < counted


def test_lstm_beats_the_5_gram(documents, counted):
    assert lstm_bits("awd_lstm", documents) < counted


@transformers
def test_agreement_across_an_attractor(name, loaded, world):
    """On 150 pairs that a masked model can be asked about: both words are one token."""
    model, tokenizer = loaded(name)
    pairs = one_token(tasks.agreement(world, 400, 1, HELD_OUT), tokenizer)[:150]
    assert len(pairs) == 150
    assert TRANSFORMERS[name][1](model, tokenizer, pairs) >= 0.90
    assert checkpoints.recipe(name)["behavior"]["agreement, 1 attractors"] >= 0.90


def test_agreement_of_all_verbs(loaded, world):
    """A causal model can be asked about verbs of several tokens, too."""
    model, tokenizer = loaded("causal")
    assert training.preferred(model, tokenizer, tasks.agreement(world, 150, 1, HELD_OUT)) >= 0.90


@transformers
def test_polarity_cues(name, loaded, world):
    model, tokenizer = loaded(name)
    pairs = one_token(tasks.polarity_cues(world, 200, HELD_OUT), tokenizer)[:150]
    assert len(pairs) == 150
    assert TRANSFORMERS[name][1](model, tokenizer, pairs) >= 0.85
    assert checkpoints.recipe(name)["behavior"]["polarity cues"] >= 0.85


# ---- what does not fit


@pytest.fixture
def copy(tmp_path):
    """A copy of a checkpoint in a folder of its own, with the tokenizer."""

    def copied(name):
        shutil.copytree(checkpoints.FOLDER / name, tmp_path / name)
        shutil.copy(checkpoints.FOLDER / "tokenizer.json", tmp_path)
        return tmp_path

    return copied


def use(name, folder):
    """What a lab does with a checkpoint."""
    if name in RECURRENT:
        checkpoints.load_into(untrained(checkpoints.config(name, folder)), name, folder)
    else:
        getattr(checkpoints, f"load_{name}")(folder)


@pytest.mark.parametrize(
    "name, field, value",
    [("causal", "n_embd", 128), ("masked", "hidden_size", 128), ("awd_lstm", "n_hid", 96)],
)
def test_another_config_does_not_fit(name, field, value, copy):
    folder = copy(name)
    path = folder / name / "config.json"
    values = json.loads(path.read_text())
    assert values[field] != value
    path.write_text(json.dumps(values | {field: value}))
    message = (
        f"^[^\n]*{name}/model.safetensors does not fit its model: tensor [^\n]+ in the model: run [^\n]+[.]$"
    )
    with pytest.raises(CourseError, match=message):
        use(name, folder)


@shipped
def test_a_flipped_byte_is_noticed(name, copy):
    folder = copy(name)
    path = folder / name / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    message = f"^[^\n]*model.safetensors is not what {name}/recipe.json names, expected SHA-256 [^\n]+[.]$"
    with pytest.raises(CourseError, match=message):
        use(name, folder)
