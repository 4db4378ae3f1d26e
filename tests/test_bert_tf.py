"""BERT in TensorFlow: the same numbers as transformers' BERT through three doors, and what each door refuses."""

import json
import os
import shutil
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch  # before tensorflow: the other order can crash with torch's CUDA build
from safetensors.numpy import save_file
from transformers import BertConfig, BertModel

from tests.small_bert import SMALL
from utils import bert_tf, downloads, minilm
from utils.bert_tf import Bert, Config, load_checkpoint, load_safetensors, load_saved_model, tf, tf_keras
from utils.errors import CourseError

TEXTS = [("Who hired a tutor?", "Lady Byron (1792-1860) hired a tutor."), ("When?", "In 1833 — at 東京.")]


def inputs(config, rows=3, tokens=9, seed=0):
    """Random ids, the second row padded by four."""
    draw = np.random.default_rng(seed)
    mask = np.ones((rows, tokens), dtype=np.int32)
    mask[1, -4:] = 0
    types = (np.arange(tokens) > tokens // 2).astype(np.int32) * mask
    ids = draw.integers(0, config.vocab_size, (rows, tokens)).astype(np.int32) * mask
    return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}


def torch_outputs(model, given):
    """Hidden states, attentions and pooled output of transformers' BertModel."""
    ids, mask, types = (torch.tensor(given[name]).long() for name in bert_tf.INPUTS)
    with torch.no_grad():
        return model(ids, mask, types, output_hidden_states=True, output_attentions=True, return_dict=True)


def difference(found, want, given):
    """Largest difference over real tokens, of all layers and of the pooled output."""
    real = given["input_mask"].astype(bool)
    layers = zip(found["encoder_outputs"], want.hidden_states[1:], strict=True)
    parts = [np.abs(a.numpy() - b.numpy())[real].max() for a, b in layers]
    assert np.array_equal(found["sequence_output"], found["encoder_outputs"][-1])
    return max(*parts, np.abs(found["pooled_output"].numpy() - want.pooler_output.numpy()).max())


def torch_model(config=SMALL, act="gelu"):
    torch.manual_seed(0)
    model = BertModel(BertConfig(**asdict(config), hidden_act=act, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:  # else they are 0 and 1, and could be exchanged
                value.normal_(1.0 if "LayerNorm.weight" in name else 0.0, 0.2)
    return model


def save(model, path, **extra):
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    save_file({name: np.ascontiguousarray(value) for name, value in (state | extra).items()}, path)
    return path


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """MiniLM as Google would publish it."""
    return bert_tf.write_minilm(tmp_path_factory.mktemp("google"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with the same small model as weights.safetensors, as a checkpoint and as a SavedModel."""
    folder = tmp_path_factory.mktemp("small")
    bert = Bert(SMALL)
    load_safetensors(bert.named, save(torch_model(), folder / "weights.safetensors"))
    bert_tf.write_checkpoint(bert.named, folder / "bert_model.ckpt")
    bert_tf.save_model(bert, folder / "saved")
    return folder


# ---- the same numbers


def test_minilm_through_a_google_checkpoint(google):
    bert, report = bert_tf.from_folder(google)
    assert len(report.assigned) == 103 and report.fresh == () and report.unused == ()
    assert str(report).endswith("103 variables assigned; 0 left fresh; 0 tensors unused")
    model, tokenizer = minilm.load()
    bert_tf.check_vocabulary(tokenizer, bert.sizes)
    rows = tokenizer(*zip(*TEXTS, strict=True), padding=True, return_tensors="np")
    keys = ("input_ids", "attention_mask", "token_type_ids")
    given = {name: rows[key].astype(np.int32) for name, key in zip(bert_tf.INPUTS, keys, strict=True)}
    model.set_attn_implementation("eager")
    assert difference(bert(given), torch_outputs(model, given), given) < 1e-4
    assert (google / "vocab.txt").read_text() == (minilm.folder() / "vocab.txt").read_text()
    names = (google / "bert_model.ckpt.index").is_file(), (google / "bert_config.json").is_file()
    assert all(names)


@pytest.mark.parametrize(("act", "exact"), [("gelu", True), ("gelu_pytorch_tanh", False)])
def test_any_bert_through_safetensors(tmp_path, act, exact):
    model = torch_model(act=act)
    bert = Bert(SMALL, exact_gelu=exact)
    report = load_safetensors(bert.named, save(model, tmp_path / "w.safetensors"))
    assert len(report.assigned) == 5 + 16 * 2 + 2 and not report.fresh and not report.unused
    given = inputs(SMALL)
    want = torch_outputs(model, given)
    assert difference(bert(given), want, given) < 1e-4
    for ours, theirs in zip(bert.attentions(given), want.attentions, strict=True):
        assert np.abs(ours.numpy() - theirs.numpy()).max() < 1e-5
        assert np.allclose(ours.numpy().sum(-1), 1, atol=1e-5) and ours[1, :, :, -4:].numpy().max() == 0
    other = Bert(SMALL, exact_gelu=not exact)
    load_safetensors(other.named, tmp_path / "w.safetensors")
    assert difference(other(given), want, given) > 1e-6


def test_three_doors_lead_to_the_same_numbers(small):
    given = inputs(SMALL)
    doors = [Bert(SMALL, seed=1), Bert(SMALL, seed=2)]
    load_safetensors(doors[0].named, small / "weights.safetensors")
    load_checkpoint(doors[1].named, small / "bert_model.ckpt")
    layer, report = load_saved_model(small / "saved", SMALL)
    assert sorted(report.assigned) == sorted(doors[0].named) and not report.fresh and not report.unused
    want = torch_outputs(torch_model(), given)
    for door in (*doors, layer):
        assert difference(door(given), want, given) < 1e-4
    back = tf.saved_model.load(str(small / "saved"))(given)
    assert np.abs(back["pooled_output"].numpy() - want.pooler_output.numpy()).max() < 1e-4


def test_the_published_names_of_googles_variables():
    names = set(Bert(SMALL).named)
    assert {
        "bert/embeddings/word_embeddings",
        "bert/embeddings/LayerNorm/gamma",
        "bert/encoder/layer_1/attention/self/query/kernel",
        "bert/encoder/layer_1/attention/output/dense/bias",
        "bert/encoder/layer_1/attention/output/LayerNorm/beta",
        "bert/encoder/layer_0/intermediate/dense/kernel",
        "bert/encoder/layer_0/output/dense/kernel",
        "bert/pooler/dense/kernel",
    } < names
    base = Config(30_522).shapes()
    assert sum(np.prod(shape) for shape in base.values()) == 109_482_240, "bert-base-uncased without heads"


def test_random_weights_are_seeded():
    one, same, other = (Bert(SMALL, seed=seed).named for seed in (1, 1, 2))
    for name, value in one.items():
        assert np.array_equal(value, same[name]), name
        flat = name.endswith(("gamma", "beta", "bias"))
        assert np.array_equal(value, other[name]) == flat, name
    kernels = [v.numpy().ravel() for n, v in one.items() if n.endswith("attention/self/query/kernel")]
    assert not np.array_equal(*kernels) and 0.01 < np.std(kernels) < 0.02


# ---- training


def test_a_head_and_all_variables_learn(small):
    """Through both kinds of layer, in a tf_keras model, with tf.function."""
    own = Bert(SMALL)
    load_checkpoint(own.named, small / "bert_model.ckpt")
    for layer in (own, load_saved_model(small / "saved")[0]):
        entry = {name: tf_keras.Input([None], dtype=tf.int32, name=name) for name in bert_tf.INPUTS}
        states = layer(entry)["sequence_output"]
        assert tuple(states.shape) == (None, None, 12)
        model = tf_keras.Model(entry, tf_keras.layers.Dense(2)(states))
        assert len(model.trainable_weights) == 39 + 2
        given = inputs(SMALL)

        @tf.function
        def gradients(given, model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(given, training=True) ** 2)
            return tape.gradient(loss, model.trainable_weights)

        for value, gradient in zip(model.trainable_weights, gradients(given), strict=True):
            if "pooler" not in value.name and gradient is not None:
                gradient = tf.convert_to_tensor(gradient)
                silent = value.name.endswith("self/key/bias:0")  # adds the same to all scores of a row
                assert (np.abs(gradient.numpy()).max() > 1e-6) != silent, value.name


def test_dropout_only_in_training(small):
    given = inputs(SMALL)
    for layer in (Bert(SMALL), load_saved_model(small / "saved")[0]):
        calm = [layer(given)["pooled_output"].numpy() for _ in range(2)]
        assert np.array_equal(*calm)
        assert np.abs(layer(given, training=True)["pooled_output"].numpy() - calm[0]).max() > 1e-3


def test_padding_changes_nothing():
    bert, given = Bert(SMALL), inputs(SMALL)
    short = {name: rows[1:2, :5] for name, rows in given.items()}
    whole = bert(given)["sequence_output"][1, :5]
    assert np.abs(whole.numpy() - bert(short)["sequence_output"][0].numpy()).max() < 1e-6


# ---- what is assigned, left and not used


def test_heads_and_optimizers_are_unused(tmp_path, small):
    tensors = {name: v.numpy() for name, v in Bert(SMALL).named.items()}
    kernel = "bert/encoder/layer_0/output/dense/kernel"
    extra = {"cls/predictions/output_bias": np.zeros(50, np.float32), "global_step": np.int64(7)}
    extra |= {f"{kernel}/adam_{which}": tensors[kernel] for which in "mv"}
    bert_tf.write_checkpoint(tensors | extra, tmp_path / "more.ckpt")
    bert = Bert(SMALL, seed=5)
    report = load_checkpoint(bert.named, tmp_path / "more.ckpt")
    assert report.unused == tuple(sorted(extra)) and report.fresh == ()
    assert "4 tensors unused: bert/encoder/layer_0/output/dense/kernel/adam_m, " in str(report)
    for name, value in bert.named.items():
        assert np.array_equal(value, tensors[name]), name


def test_a_renamed_layer_stays_random_and_is_reported(tmp_path, small):
    tensors = {
        name.replace("layer_1/", "block_1/"): v.numpy() for name, v in Bert(SMALL, seed=3).named.items()
    }
    bert_tf.write_checkpoint(tensors, tmp_path / "renamed.ckpt")
    bert, random = Bert(SMALL, seed=4), Bert(SMALL, seed=4).named
    with pytest.raises(
        CourseError,
        match=r"has nothing for bert/encoder/layer_1/.* and 15 more, which would stay random: compare the names",
    ):
        load_checkpoint(bert.named, tmp_path / "renamed.ckpt")
    assert all(np.array_equal(v, random[n]) for n, v in bert.named.items()), "nothing was assigned"
    report = load_checkpoint(bert.named, tmp_path / "renamed.ckpt", strict=False)
    assert len(report.fresh) == len(report.unused) == 16 and len(report.assigned) == 23
    for name, value in bert.named.items():
        assert np.array_equal(value, random[name] if name in report.fresh else tensors[name])


def test_a_head_alone(tmp_path):
    """Google's SQuAD head is [2, hidden]."""
    head = {
        "cls/squad/output_weights": tf.Variable(tf.ones([2, 12])),
        "cls/squad/output_bias": tf.Variable([1.0, 2.0]),
    }
    bert_tf.write_checkpoint(Bert(SMALL).named | head, tmp_path / "squad.ckpt")
    empty = {name: tf.Variable(tf.zeros(v.shape)) for name, v in head.items()}
    report = load_checkpoint(empty, tmp_path / "squad.ckpt")
    assert report.assigned == tuple(sorted(head)) and len(report.unused) == 39
    assert empty["cls/squad/output_bias"].numpy().tolist() == [1, 2]


def test_names_of_transformers(tmp_path):
    found = bert_tf.google_name
    assert found("bert.embeddings.LayerNorm.gamma") == "bert/embeddings/LayerNorm/gamma"
    assert found("encoder.layer.11.output.LayerNorm.weight") == "bert/encoder/layer_11/output/LayerNorm/gamma"
    assert found("embeddings.position_embeddings.weight") == "bert/embeddings/position_embeddings"
    assert found("cls.predictions.bias") == "cls/predictions/bias"
    model = torch_model()
    path = save(model, tmp_path / "w.safetensors", **{"cls.predictions.bias": np.zeros(50, np.float32)})
    report = load_safetensors(Bert(SMALL).named, path)
    assert report.unused == ("cls.predictions.bias",)


def test_half_precision_is_widened(tmp_path):
    state = {n: v.numpy().astype(np.float16) for n, v in torch_model().state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    bert = Bert(SMALL)
    load_safetensors(bert.named, tmp_path / "half.safetensors")
    assert {v.dtype for v in bert.weights} == {tf.float32}


# ---- what is refused


def changed(**sizes):
    return Bert(replace(SMALL, **sizes)).named


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocab_size": 60}, r"word_embeddings\S* is 50 x 12 there and 60 x 12 here: build the model from the config"),
        ({"hidden_size": 24}, r"is of a model of other sizes, .* is .* there and .*24.* here"),
        ({"intermediate_size": 21}, "is of a model of other sizes"),
        ({"max_position_embeddings": 20}, r"position_embeddings\S* is 40 x 12 there and 20 x 12 here"),
        ({"num_hidden_layers": 3}, r"has nothing for bert/encoder/layer_2/attention/\S+ and 15 more"),
        ({"num_hidden_layers": 1}, r"there is no place for \S+layer.1\S+ and 15 more: build"),
    ],
)  # fmt: skip
def test_other_sizes(small, sizes, message):
    with pytest.raises(CourseError, match=message):
        load_checkpoint(changed(**sizes), small / "bert_model.ckpt")
    with pytest.raises(CourseError, match=message):
        load_safetensors(changed(**sizes), small / "weights.safetensors")


def test_fewer_layers_on_purpose(small):
    report = load_checkpoint(changed(num_hidden_layers=1), small / "bert_model.ckpt", strict=False)
    assert len(report.unused) == 16 and not report.fresh


def test_paths_of_checkpoints(tmp_path, small):
    named = Bert(SMALL).named
    for ending in (".index", ".data-00000-of-00001"):
        with pytest.raises(CourseError, match="is one file of a checkpoint: name what .*, bert_model.ckpt"):
            load_checkpoint(named, small / f"bert_model.ckpt{ending}")
    with pytest.raises(
        CourseError, match=r"no checkpoint .*nothing\.ckpt, for which nothing\.ckpt\.index was"
    ):
        load_checkpoint(named, tmp_path / "nothing.ckpt")
    for part in small.glob("bert_model.ckpt.*"):
        shutil.copy(part, tmp_path)
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"no index")
    with pytest.raises(CourseError, match="cannot be read as a checkpoint"):
        load_checkpoint(named, tmp_path / "bert_model.ckpt")


def test_a_checkpoint_without_its_data(tmp_path, small):
    shutil.copy(small / "bert_model.ckpt.index", tmp_path)
    with pytest.raises(CourseError, match="cannot be read as a checkpoint .*data-00000-of-00001; No such"):
        load_checkpoint(Bert(SMALL).named, tmp_path / "bert_model.ckpt")


def test_checkpoints_of_objects(tmp_path):
    """They hold the same tensors under other names, and are easily taken for the other kind."""
    prefix = tf.train.Checkpoint(encoder=Bert(SMALL)).write(str(tmp_path / "objects"))
    with pytest.raises(CourseError, match=r"holds the objects of a tf\.train\.Checkpoint"):
        load_checkpoint(Bert(SMALL).named, tmp_path / prefix.split(os.sep)[-1])


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"{}")
    with pytest.raises(CourseError, match=r"w\.safetensors cannot be read as weights"):
        load_safetensors(Bert(SMALL).named, tmp_path / "w.safetensors")
    with pytest.raises(CourseError, match=r"none\.safetensors cannot be read as weights"):
        load_safetensors(Bert(SMALL).named, tmp_path / "none.safetensors")


class Other(tf.Module):
    """A SavedModel of another kind: what it takes and gives is up to `outputs`."""

    def __init__(self, outputs):
        super().__init__()
        self.scale, self.outputs = tf.Variable(2.0), outputs

    @tf.function(input_signature=[{n: tf.TensorSpec([None, None], tf.int32) for n in bert_tf.INPUTS}])
    def __call__(self, given):
        x = self.scale * tf.cast(given["input_word_ids"], tf.float32)[:, :, None]
        return {name: x if name == "sequence_output" else x[:, 0] for name in self.outputs}


def test_saved_models_of_other_kinds(tmp_path, small, caplog):
    with pytest.raises(CourseError, match=r"is no SavedModel, a folder with saved_model\.pb was expected"):
        load_saved_model(tmp_path)
    tf.saved_model.save(Other(["pooled_output"]), str(tmp_path / "other"))
    with pytest.raises(
        CourseError, match="not a BERT of TF Hub's form, which takes a dict of input_word_ids"
    ):
        load_saved_model(tmp_path / "other")
    tf.saved_model.save(Other(["sequence_output", "pooled_output"]), str(tmp_path / "frozen"))
    with pytest.raises(CourseError, match="has no variable that can be trained"):
        load_saved_model(tmp_path / "frozen")
    assert "zero trainable weights" not in caplog.text, "TF Hub's log line would stand beside the sentence"
    layer, report = load_saved_model(tmp_path / "frozen", trainable=False)
    assert report.assigned == () and layer.trainable_weights == []
    words = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=[3])])
    words.save(str(tmp_path / "dense"), save_format="tf")
    with pytest.raises(CourseError, match="not a BERT of TF Hub's form"):
        load_saved_model(tmp_path / "dense")
    with pytest.raises(CourseError, match="gives 12 numbers per token, and 768 were expected"):
        load_saved_model(small / "saved", Config(50))


def test_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "cache_dir", lambda: tmp_path)
    with pytest.raises(
        CourseError, match=r"could not be downloaded from http://127\.0\.0\.1:1/x\?tf-hub-.*no connection"
    ):
        load_saved_model("http://127.0.0.1:1/x")
    with pytest.raises(
        CourseError, match="gs://x/y is no address of TF Hub: give one that begins with https"
    ):
        load_saved_model("gs://x/y")


def test_keras_3():
    given = {name: tf.keras.Input([None], dtype="int32", name=name) for name in bert_tf.INPUTS}
    with pytest.raises(CourseError, match="KerasTensor is an object of Keras 3, .* make it with tf_keras"):
        Bert(SMALL)(given)
    with pytest.raises(CourseError, match="Dense is an object of Keras 3"):
        bert_tf.save_model(tf.keras.layers.Dense(2), "nowhere")
    bert_tf.need_tf_keras(tf_keras.layers.Dense(2), tf.ones(1), None)


def test_inputs_that_do_not_fit():
    bert, given = Bert(SMALL), inputs(SMALL)
    with pytest.raises(CourseError, match="takes a dict of .*, and input_mask was not in it"):
        bert({"input_word_ids": given["input_word_ids"]})
    with pytest.raises(CourseError, match="takes a dict of"):
        bert(given["input_word_ids"])
    with pytest.raises(CourseError, match="41 tokens were given, and this BERT has 40 positions"):
        bert(inputs(SMALL, tokens=41))


def test_vocabularies_that_do_not_fit():
    with pytest.raises(
        CourseError, match="has 30522 word pieces and the model 50 word vectors: take the vocab"
    ):
        bert_tf.check_vocabulary(minilm.tokenizer(), SMALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not the config of a BERT"),
        ("{", "line 1, column 2: this is not JSON"),
        ('{"hidden_size": 8}', "is not the config of a BERT"),
        ('{"vocab_size": "many"}', "is not the config of a BERT"),
        ('{"vocab_size": 9, "hidden_act": "relu"}', "768 units in 12 heads, and 'relu': a BERT with"),
        ('{"vocab_size": 9, "num_attention_heads": 7}', "768 units in 7 heads, and 'gelu': a BERT with"),
    ],
)
def test_other_configs(tmp_path, text, message):
    (tmp_path / "bert_config.json").write_text(text)
    with pytest.raises(CourseError, match=message):
        Config.read(tmp_path / "bert_config.json")


def test_the_published_archive(tmp_path, monkeypatch, google, capsys):
    """As Google's zip is built: one folder inside. COURSE_DATA may hold it, or the folder."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(downloads, "cache_dir", lambda: tmp_path / "cache")
    with zipfile.ZipFile(tmp_path / "uncased_L-12_H-768_A-12.zip", "w") as archive:
        for path in google.iterdir():
            archive.write(path, f"uncased_L-12_H-768_A-12/{path.name}")
    folder = bert_tf.published()
    assert folder.name == "uncased_L-12_H-768_A-12"
    assert Config.read(folder / "bert_config.json") == Config.read(minilm.folder() / "config.json")
    assert bert_tf.published() == folder
    (tmp_path / "uncased_L-12_H-768_A-12.zip").unlink()
    shutil.copytree(folder, tmp_path / "bert-base-uncased")
    assert bert_tf.published() == tmp_path / "bert-base-uncased"
    (tmp_path / "bert-base-uncased" / "bert_config.json").unlink()
    with pytest.raises(CourseError, match="holds 0 BERTs with a bert_config.json, and one was expected"):
        bert_tf.published()


def test_the_config_is_kept(google):
    values = json.loads((google / "bert_config.json").read_text())
    assert values["hidden_size"] == 384 and values["hidden_act"] == "gelu"
    bert = Bert.from_config(Bert(SMALL, seed=3, exact_gelu=False).get_config())
    assert (bert.sizes, bert.seed, bert.exact_gelu) == (SMALL, 3, False)
